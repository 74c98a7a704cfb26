"""Convolutions of several models at once, as products of matrices: each window of an image is a row of one.

Inside, activations lie channels last, (members, n, rows, columns, channels): a window's numbers are then three runs
of memory, and the product of all windows with the weights is the next layer's input as it has to lie. A torch
convolution by groups, or under vmap, takes half as long again on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lossproof.train.stack_layers import Buffers, Layer, Named, Products, dense_layer

PIECE = 1 << 18  # numbers of the windows that are laid out at a time on a CPU: they stay in its caches
SIDE = 3  # of a window
NARROW = 2  # channels up to which windows lie one number of theirs after the other: their runs of memory are too short


class ChannelsLast(Layer):
    """Flat images (members, n, c * h * w) laid out channels last; those of one channel are."""

    def __init__(self, shape: tuple[int, int, int], buffers: Buffers) -> None:
        self.shape, self.buffers = shape, buffers

    def forward(self, a: Tensor) -> Tensor:
        return laid_out(self, a.unflatten(2, self.shape).permute(0, 1, 3, 4, 2), self.buffers)

    def backward(self, g: Tensor, *, wanted: bool = True) -> Tensor:
        return g.permute(0, 1, 4, 2, 3).flatten(2)


class Flat(Layer):
    """The way back from `ChannelsLast`: (members, n, h, w, c) -> (members, n, c * h * w)."""

    def __init__(self, buffers: Buffers) -> None:
        self.buffers = buffers

    def forward(self, a: Tensor) -> Tensor:
        self.shape = a.shape
        return laid_out(self, a.permute(0, 1, 4, 2, 3), self.buffers).flatten(2)

    def backward(self, g: Tensor, *, wanted: bool = True) -> Tensor:
        _, _, rows, columns, channels = self.shape
        return laid_out(self, g.unflatten(2, (channels, rows, columns)).permute(0, 1, 3, 4, 2), self.buffers)


def laid_out(owner: object, a: Tensor, buffers: Buffers) -> Tensor:
    """The same numbers in the order of their axes: moved once, since all that follows is quicker so."""
    return a if a.is_contiguous() else buffers((owner, "laid out"), *a.shape).copy_(a)


class Windows:
    """The 3 x 3 windows that a stride of 2 takes from images (members, n, h, w, c) with a border of zeros.

    There are ceil(h / 2) x ceil(w / 2) of them. `laid_out` and `put_back` go from images to windows and from the
    derivatives of windows to those of images; a transposed convolution takes them the other way round.
    """

    def __init__(self, owner: object, buffers: Buffers) -> None:
        self.owner, self.buffers = owner, buffers

    def padded(self, name: str, images: tuple[int, ...]) -> Tensor:
        """A buffer for images of this shape with their border."""
        members, n, rows, columns, channels = images
        high, wide = 2 * -(-rows // 2) + 1, 2 * -(-columns // 2) + 1
        return self.buffers((self.owner, name), members, n, high, wide, channels)

    def rows(self, name: str, padded: Tensor, dtype: torch.dtype) -> Tensor:
        """A buffer for the windows of padded images: (members, n, rows, columns, 3, 3, channels)."""
        members, n, high, wide, channels = padded.shape
        places, window = (n, high // 2, wide // 2), (SIDE, SIDE, channels)
        if channels > NARROW:
            return self.buffers((self.owner, name), members, *places, *window, dtype=dtype)
        return self.buffers((self.owner, name), members, *window, *places, dtype=dtype).permute(
            0, 4, 5, 6, 1, 2, 3
        )

    @staticmethod
    def inside(padded: Tensor, rows: int, columns: int) -> Tensor:
        """The images without their border."""
        return padded[:, :, 1 : rows + 1, 1 : columns + 1]

    @staticmethod
    def laid_out(padded: Tensor, into: Tensor) -> None:
        """Copy every window of padded images to its row."""
        along = padded.stride()
        into.copy_(
            padded.as_strided(
                into.shape,
                (along[0], along[1], 2 * along[2], 2 * along[3], *along[2:]),
                padded.storage_offset(),
            )
        )

    @staticmethod
    def put_back(windows: Tensor, into: Tensor) -> None:
        """Sum the numbers of all windows at the places of padded images that they were taken from."""
        high, wide = 2 * windows.shape[2], 2 * windows.shape[3]
        into[:, :, high], into[:, :, :, wide] = 0.0, 0.0
        # the first two rows and columns of all windows cover each other place once
        order = sorted((i > 1 or j > 1, i, j) for i in range(SIDE) for j in range(SIDE))
        for again, i, j in order:
            place = into[:, :, i : i + high : 2, j : j + wide : 2]
            if again:
                place.add_(windows[..., i, j, :])
            else:
                place.copy_(windows[..., i, j, :])


def pieces(members: int, n: int, image: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Members and images whose windows, `image` numbers each, are laid out at a time: all of them off a CPU."""
    if device.type != "cpu" or members * n * image <= PIECE:
        yield slice(0, members), slice(0, n)
        return
    step = max(1, PIECE // image)
    for member in range(members):
        for start in range(0, n, step):
            yield slice(member, member + 1), slice(start, min(n, start + step))


class Convolving(Layer):
    """What both directions share: weights as a matrix, gradients summed over pieces."""

    #: of the stacked weight (members, out, in, 3, 3), or (members, in, out, 3, 3): its axes in the matrix
    order: tuple[int, ...]

    def __init__(self, weights: Sequence[Tensor], gradients: Sequence[Tensor], products: Products) -> None:
        self.weight, self.bias = weights
        self.weight_gradient, self.bias_gradient = gradients
        self.products, self.buffers = products, products.buffers
        self.windows = Windows(self, self.buffers)
        self.shape = tuple(self.weight.shape[axis] for axis in self.order)
        # the matrix has one side of windows, (3, 3, channels), and one of channels alone
        first = self.order.index(3)
        self.flat = (first, first + 2)

    def matrix(self) -> Tensor:
        """The weights as they are multiplied with."""
        laid = self.buffers((self, "weights"), *self.shape, dtype=self.products.dtype)
        return laid.copy_(self.weight.permute(self.order)).flatten(*self.flat)

    def gradient(self) -> tuple[Tensor, Tensor]:
        """Room for the matrix's gradient, set to 0: as the matrix lies, and as the weights do."""
        made = self.buffers((self, "gradient"), *self.shape).zero_()
        back = [self.order.index(axis) for axis in range(len(self.order))]
        return made.flatten(*self.flat), made.permute(back)

    def contiguous(self, name: str, a: Tensor) -> Tensor:
        """Channels last in memory too, and as it goes into products."""
        if a.is_contiguous() and a.dtype is self.products.dtype:
            return a
        return self.buffers((self, name), *a.shape, dtype=self.products.dtype).copy_(a)


class Convolution(Convolving):
    """`nn.Conv2d` of 3 x 3 with stride 2 and a border of 1, of every member."""

    order = (0, 3, 4, 2, 1)

    def forward(self, a: Tensor) -> Tensor:
        members, n, rows, columns, channels = self.taken = tuple(a.shape)
        self.padded = self.windows.padded("padded", self.taken)
        self.windows.inside(self.padded, rows, columns).copy_(a)
        self.w = self.matrix()
        out = self.buffers((self, "out"), members, n, -(-rows // 2), -(-columns // 2), self.w.shape[2])
        self.pieces = list(pieces(members, n, out[0, 0, :, :, 0].numel() * SIDE * SIDE * channels, a.device))
        for part, seen in self.pieces:
            laid = self.laid(part, seen)
            self.products(laid, self.w[part], out[part, seen].flatten(1, 3), self.bias[part].unsqueeze(1))
        return out

    def laid(self, part: slice, seen: slice) -> Tensor:
        """The windows of a piece, as a matrix (members, windows, 3 * 3 * channels)."""
        taken = self.padded[part, seen]
        rows = self.windows.rows("windows", taken, self.products.dtype)
        self.windows.laid_out(taken, rows)
        return rows.flatten(1, 3).flatten(2)

    def backward(self, g: Tensor, *, wanted: bool = True) -> Tensor:
        g = laid_out(self, g, self.buffers)  # a sum over parts of images takes twenty times as long
        torch.sum(g, (1, 2, 3), out=self.bias_gradient)
        g = self.contiguous("g", g)
        gradient, as_weights = self.gradient()
        into = self.windows.padded("in", self.taken) if wanted else None
        for part, seen in self.pieces:
            mine = g[part, seen].flatten(1, 3)
            laid = self.laid(part, seen)
            self.products.add(laid.mT, mine, gradient[part])
            if into is not None:
                back = self.windows.rows("slopes", self.padded[part, seen], torch.float32)
                self.products(mine, self.w[part].mT, back.flatten(1, 3).flatten(2))
                self.windows.put_back(back, into[part, seen])
        self.weight_gradient.copy_(as_weights)
        return g if into is None else self.windows.inside(into, *self.taken[2:4])


class Transposed(Convolving):
    """`nn.ConvTranspose2d` of 3 x 3 with stride 2 and a border of 1, to images of a given height and width."""

    order = (0, 1, 3, 4, 2)

    def __init__(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        products: Products,
        odd: tuple[bool, bool],
    ) -> None:
        super().__init__(weights, gradients, products)
        self.odd = odd  # whether height and width are

    def forward(self, a: Tensor) -> Tensor:
        members, n, rows, columns, _ = a.shape
        self.a, self.w = self.contiguous("a", a), self.matrix()
        channels = self.weight.shape[2]
        self.given = (members, n, 2 * rows - self.odd[0], 2 * columns - self.odd[1], channels)
        padded = self.windows.padded("padded", self.given)
        self.pieces = list(pieces(members, n, rows * columns * SIDE * SIDE * channels, a.device))
        for part, seen in self.pieces:
            laid = self.windows.rows("windows", padded[part, seen], torch.float32)
            self.products(self.a[part, seen].flatten(1, 3), self.w[part], laid.flatten(1, 3).flatten(2))
            self.windows.put_back(laid, padded[part, seen])
        inside = self.windows.inside(padded, *self.given[2:4])
        out = self.buffers((self, "out"), *self.given)
        return torch.add(inside, self.bias.view(members, 1, 1, 1, channels), out=out)

    def backward(self, g: Tensor, *, wanted: bool = True) -> Tensor:
        torch.sum(g, (1, 2, 3), out=self.bias_gradient)
        padded = self.windows.padded("slopes padded", self.given)
        self.windows.inside(padded, *self.given[2:4]).copy_(g)
        gradient, as_weights = self.gradient()
        into = self.buffers((self, "in"), *self.a.shape)
        for part, seen in self.pieces:
            rows = self.windows.rows("slopes", padded[part, seen], self.products.dtype)
            self.windows.laid_out(padded[part, seen], rows)
            laid = rows.flatten(1, 3).flatten(2)
            self.products.add(self.a[part, seen].flatten(1, 3).mT, laid, gradient[part])
            if wanted:
                self.products(laid, self.w[part].mT, into[part, seen].flatten(1, 3))
        self.weight_gradient.copy_(as_weights)
        return into


def conv_layer(module: nn.Module, named: Named, products: Products) -> Layer | None:
    """The stacked layer of a convolutional model's module."""
    if isinstance(module, nn.Flatten):
        return Flat(products.buffers)
    if isinstance(module, nn.Conv2d) and of_a_kind(module):
        return Convolution(*named(module), products)
    if isinstance(module, nn.ConvTranspose2d) and of_a_kind(module):
        height, width = module.output_padding
        return Transposed(*named(module), products, (height == 0, width == 0))
    return dense_layer(module, named, products)


def of_a_kind(module: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Whether it is the convolution of `lossproof.models.conv`."""
    asked = (module.kernel_size, module.stride, module.padding, module.dilation, module.groups)
    return asked == ((3, 3), (2, 2), (1, 1), (1, 1), 1) and module.bias is not None


__all__ = ["ChannelsLast", "Convolution", "Flat", "Transposed", "conv_layer"]
