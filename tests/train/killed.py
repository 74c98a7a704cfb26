"""A comparison in a process of its own, to be interrupted or killed: `killed.py DATA OUT EPOCHS`."""

import sys

from lossproof.train import compare


def main(data: str, out: str, epochs: str) -> int:
    result = compare(
        data,
        ("bce", "mae", "(y - p)**2 + 0.001*log(p - 0.2)"),
        hidden=(9,),
        latent=3,
        epochs=int(epochs),
        batch_size=16,
        lr=0.01,
        seeds=2,
        out=out,
        resume=True,
        progress=False,
        checkpoint_seconds=0.0,
    )
    assert "torch._dynamo" not in sys.modules, "torch's compiler: a second of every start"
    print("interrupted" if result.interrupted else "finished", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
