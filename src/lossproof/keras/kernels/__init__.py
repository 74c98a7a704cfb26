"""Generated kernels of the catalogue's losses, one file each; ``make generate`` writes them."""
