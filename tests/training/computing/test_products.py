"""Products by oneDNN: those of torch's linear, and chosen where they are faster."""

import json

import pytest
import torch
from support.settings import SMALL
from torch.nn import functional

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data.batch import Position
from mfcc_wavenet.training.chassis import Chassis
from mfcc_wavenet.training.computing import products
from mfcc_wavenet.training.computing.network_pass import pick_products

CPU = torch.device("cpu")
CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # sums of some hundred terms in another order
pytestmark = pytest.mark.skipif(not products.is_available(), reason="a torch without oneDNN")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mfcc_wavenet" / "products.json"


@pytest.mark.parametrize("shape", [(2, 30), (7,), (1, 1)])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_it_is_the_same_product_with_the_same_gradients(shape, with_bias, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    x, weight = torch.randn(*shape, 19, requires_grad=True), torch.randn(11, 19, requires_grad=True)
    of = (x, weight, torch.randn(11, requires_grad=True)) if with_bias else (x, weight)
    with products.ByOneDnn():
        found = functional.linear(*of)
    expected, gradient = functional.linear(*of), torch.randn(*shape, 11)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert found.is_contiguous()
    for mine, theirs in zip(torch.autograd.grad(found, of, gradient), torch.autograd.grad(expected, of, gradient)):
        torch.testing.assert_close(mine, theirs, **CLOSE)
    torch.set_num_threads(before)


def test_a_step_is_the_same_by_either(small, tmp_path):
    """Up to rounding, in logits and gradients; and by oneDNN, bit for bit the same each time."""
    blas, onednn, again = (
        Chassis(small(f"train.products={name}", "train.device=cpu"), tmp_path / f"{number}")
        for number, name in enumerate(("blas", "onednn", "onednn"))
    )
    batch = next(blas._batches(Position()))
    logits, of_onednn = (one.network_pass(batch).pred for one in (blas, onednn))
    torch.testing.assert_close(of_onednn, logits, **CLOSE)
    for one in (blas, onednn, again):
        one.network_pass(batch).negative_log_likelihood().backward()
    for expected, found, same in zip(*(one.model.parameters() for one in (blas, onednn, again))):
        if expected.grad is not None:
            torch.testing.assert_close(found.grad, expected.grad, **CLOSE)
            assert torch.equal(found.grad, same.grad)


def test_the_faster_one_is_measured_once_and_kept(cache, capsys):
    """For each shape; what is said of it is one line."""
    first = products.faster(100, 16, 24)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Products: by ") and "GFLOP/s" in line
    (key,) = json.loads(cache.read_text())
    assert "100 x 24 x 16" in key and f"{torch.get_num_threads()} threads" in key
    other = {"blas": "onednn", "onednn": "blas"}[first]
    cache.write_text(json.dumps({key: other}))
    assert products.faster(100, 16, 24) == other  # what is kept counts
    assert capsys.readouterr().err == ""
    products.faster(101, 16, 24)
    assert len(json.loads(cache.read_text())) == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}'])
def test_a_damaged_file_is_written_again(cache, content):
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    assert products.faster(100, 16, 24) in json.loads(cache.read_text()).values()


def test_where_nothing_can_be_kept_it_is_measured_again(tmp_path, monkeypatch, capsys):
    (tmp_path / "cache").write_text("a file in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert products.faster(100, 16, 24) in products.NAMES
    assert "cannot be kept" in capsys.readouterr().err


def test_the_setting_counts_and_is_refused_where_it_cannot(small, cache):
    settings = small("train.products=onednn")
    assert pick_products(settings, CPU, torch.float32, False) == "onednn"
    for precision, compiled in ((torch.bfloat16, False), (torch.float32, True)):
        assert pick_products(small("train.products=null"), CPU, precision, compiled) == "blas"
        with pytest.raises(UserError, match=r"train\.products=null does without"):
            pick_products(settings, CPU, precision, compiled)
    with pytest.raises(UserError, match=r"train\.products is mkl; there are blas, onednn"):
        small("train.products=mkl")
    assert "train.products=blas" in SMALL and not cache.exists()
