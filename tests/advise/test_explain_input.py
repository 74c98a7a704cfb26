"""explain: what it reads, what it refuses, how it prints."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lossproof.advise.symptoms import explain
from lossproof.advise.symptoms.files import read_curve, read_tensors
from lossproof.advise.symptoms.records import MEANING, Cause, RuledOut, ranked
from lossproof.formula import LossproofError

Y = (load_digits().images / 16).astype(np.float32)[:300]


def test_curves_from_files(tmp_path: Path):
    csv, bare, history, rows = (tmp_path / n for n in ("a.csv", "b.csv", "c.json", "d.json"))
    csv.write_text("epoch,loss,val_loss,kl\n1,0.5,0.6,3\n2,0.4,,4\n")
    bare.write_text("0.5\n0.4\n")
    history.write_text(json.dumps({"loss": [0.5, 0.4], "val_loss": [0.6, 0.5]}))
    rows.write_text('[{"step": 1, "train_loss": 0.5}, {"step": 2, "train_loss": NaN}]')
    assert read_curve(csv).train.tolist() == [0.5, 0.4]
    assert read_curve(csv).rate == 4.0
    assert read_curve({"loss": [9.0], "kl_loss": [4.0], "reconstruction_loss": [5.0]}).train.tolist() == [5.0]
    assert read_curve(bare).train.tolist() == [0.5, 0.4]
    assert read_curve(history).valid.tolist() == [0.6, 0.5]
    assert np.isnan(read_curve(rows).train[1])
    assert explain(curve=csv, loss="bce", data=Y).value == 0.4


def test_dumps_from_files(tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=Y[:4], recon=Y[:4])
    np.save(tmp_path / "b.npy", np.stack([Y[:4], Y[:4]]))
    assert read_tensors(tmp_path / "a.npz").predictions.shape == (4, 8, 8)
    assert read_tensors(tmp_path / "b.npy").targets.shape == (4, 8, 8)
    assert read_tensors({"y": torch.zeros(2, 3), "logits": torch.zeros(2, 3)}).logits.shape == (2, 3)


REFUSED = [
    ({}, "expected a value, a curve or a dump"),
    ({"value": 1.0, "reduction": "summ"}, "did you mean sum"),
    ({"value": 1.0, "rate": -1.0}, "expected rate as a KL of at least 0"),
    ({"value": 1.0, "batch_size": 0}, "expected batch_size above 0"),
    ({"value": 1.0, "kl_weight": -1.0}, "expected kl_weight above 0"),
    ({"value": 1.0, "loss": "bec"}, "did you mean"),
    ({"curve": "nowhere.csv"}, "expected a file"),
    ({"curve": {"name": ["a", "b"]}}, "expected a column of losses"),
    ({"dump": "nowhere.npz"}, "expected a file"),
    ({"dump": (np.zeros((2, 3)), np.zeros((3, 2)))}, "of one shape"),
    ({"dump": {"targets": np.zeros((2, 3))}}, "named targets and predictions"),
    ({"dump": (np.zeros((0, 3)), np.zeros((0, 3)))}, "an empty array"),
    ({"dump": (np.array([["a"]]), np.array([["a"]]))}, "expected numbers"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_read_is_refused_with_a_reason(given, message):
    with pytest.raises(LossproofError, match=message):
        explain(**given)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"1", "as .csv or .json"),
        ("a.csv", b"", "an empty file"),
        ("a.json", b"{", "expected JSON"),
        ("a.json", b"3", "a list of numbers"),
    ],
)
def test_damaged_curves_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LossproofError, match=message):
        read_curve(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "message"), [("a.npz", b"PK nothing", "damaged"), ("a.pt", b"x", ".npz or .npy")]
)
def test_damaged_dumps_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LossproofError, match=message):
        read_tensors(tmp_path / name)
    np.save(tmp_path / "c.npy", np.zeros((3, 4)))
    with pytest.raises(LossproofError, match="stacked"):
        read_tensors(tmp_path / "c.npy")


def test_the_text_is_plain_and_narrow_and_the_record_is_json():
    found = explain(0.05, loss="mse", data=Y, rate=0.01)
    text = str(found)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert {cause["standing"] for cause in record["causes"]} <= set(MEANING)
    assert json.dumps(explain(float("nan"), loss="bce").to_dict(), allow_nan=False)


def test_faults_come_before_what_is_normal_and_mere_possibilities_last():
    def cause(id, standing, normal=False, weight=0.0):
        return Cause(id, id, standing, ("1",), "fix", "check", normal, weight)

    given = [cause("maybe", "possible"), cause("floor", "shown", normal=True), cause("light", "fits", weight=0.1),
             RuledOut("no", "no", "reason"), cause("heavy", "fits", weight=0.9), cause("sure", "shown")]  # fmt: skip
    causes, ruled_out = ranked(given)
    assert [one.id for one in causes] == ["sure", "heavy", "light", "floor", "maybe"]
    assert [one.id for one in ruled_out] == ["no"]
