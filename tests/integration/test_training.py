"""Backward, recompute and the optimizer's step: whose work they are, what is kept for them, and that nothing is left.

The cost of going back through a product y = x · w is one product for the gradient of x, if anything below needs that,
and one for the gradient of w, if it trains: each as many MACs as the product itself.
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import numel
from integration.fingerprint import differences, fingerprint
from numel.document import Quantity, Table
from numel.errors import InputsError, ViewError

MODES = ("meta", "fake", "real")


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, to in pairwise(widths):
        layers += [nn.Linear(width, to), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def rows(report: numel.Report) -> dict[str, Any]:
    return {row.path: row for row in report.layers}


# ── whose work it is ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", MODES)
def test_a_product_goes_back_as_two_and_the_first_one_as_one(mode):
    report = numel.summary(mlp(8, 16, 4), "f32[3,8]", mode=mode, backward=True)
    first, last = 3 * 8 * 16, 3 * 16 * 4
    assert report.macs == first + last
    assert report.backward_flops == 2 * (first + 2 * last)  # the input needs no gradient
    each = rows(report)
    assert (each["0"].backward_flops, each["2"].backward_flops) == (2 * first, 4 * last)


def test_what_is_frozen_costs_nothing_back_below_and_one_product_between():
    model = mlp(8, 8, 8, 8)  # 0, 2, 4
    one = 3 * 8 * 8
    for part in (model[0], model[4]):
        part.requires_grad_(False)
    each = rows(numel.summary(model, "f32[3,8]", backward=True))
    assert [each[path].backward_flops for path in ("0", "2", "4")] == [0, 2 * one, 2 * one]


def test_an_input_that_needs_a_gradient_gets_one():
    x = torch.zeros(3, 8, requires_grad=True)
    model = nn.Linear(8, 4).requires_grad_(False)
    assert numel.summary(model, x, backward=True).backward_flops == 2 * 3 * 8 * 4
    assert x.grad is None


def test_a_model_that_does_not_train_goes_nowhere_and_says_so():
    report = numel.summary(mlp(8, 4).requires_grad_(False), "f32[3,8]", backward=True)
    assert (report.backward_flops, report.saved_nbytes) == (0, 0)
    assert "no-backward" in [note.code for note in report.notes]


def test_without_backward_there_are_no_numbers_of_it():
    report = numel.summary(mlp(8, 4), "f32[3,8]")
    assert (report.backward_flops, report.recompute_flops, report.saved_nbytes, report.peak_nbytes) == (None,) * 4
    assert report.layers[0].backward_flops is None


class Block(nn.Module):
    """Work of its own before, between and after its parts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(width, width))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x @ self.w
        return x + self.down(torch.tanh(self.up(x))) @ self.w


class Checkpointed(nn.Module):
    def __init__(self, width: int, reentrant: bool | None, blocks: int = 2) -> None:
        super().__init__()
        self.stem = nn.Linear(width, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.reentrant = reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x) if self.reentrant is None else checkpoint(block, x, use_reentrant=self.reentrant)
        return x


@pytest.mark.parametrize("reentrant", [True, False], ids=["reentrant", "non-reentrant"])
@pytest.mark.parametrize("mode", MODES)
def test_a_checkpointed_block_runs_again_and_each_module_of_it_has_its_part(mode, reentrant):
    width, tokens = 8, 3
    plain, again = (
        numel.summary(Checkpointed(width, each), f"f32[{tokens},{width}]", mode=mode, backward=True)
        for each in (None, reentrant)
    )
    square = tokens * width * width
    own, part = 2 * square, 2 * square  # of a block: its two products with w; each of up and down
    block = own + 2 * part
    assert again.macs == plain.macs == square + 2 * block
    assert plain.recompute_flops == 0
    # without reentering, what comes after the last tensor that is needed again does not run: here the last product and
    # the sum of each block
    last = 0 if reentrant else 2 * square
    assert again.recompute_flops == 2 * (2 * block) - 2 * last
    assert again.backward_flops == plain.backward_flops + again.recompute_flops
    before, after = rows(plain), rows(again)
    for path in ("blocks.0.up", "blocks.1.down"):
        assert after[path].backward_flops - before[path].backward_flops == 2 * part
        assert after[path].calls == before[path].calls == 1
    # what the block does itself is charged to the block, and not to a part or to the model
    assert after["blocks.0"].backward_flops - before["blocks.0"].backward_flops == 2 * block - last
    assert after[""].backward_flops == after["stem"].backward_flops + sum(
        after[f"blocks.{i}"].backward_flops for i in range(2)
    )
    assert again.saved_nbytes < plain.saved_nbytes


class Inside(nn.Module):
    """A checkpointed function that uses parts of the module, and weights of its own before any part."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.w = nn.Parameter(torch.ones(8, 8))
        self.reentrant = reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(lambda y: torch.tanh(self.fc(torch.tanh(y @ self.w))), x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False], ids=["reentrant", "non-reentrant"])
def test_a_checkpointed_function_belongs_to_the_module_that_has_it(reentrant):
    model = nn.Sequential(nn.Linear(8, 8), Inside(reentrant))
    each = rows(numel.summary(model, "f32[3,8]", backward=True))
    one = 2 * 3 * 8 * 8
    assert each["1.fc"].backward_flops == 3 * one  # again, and its two gradients
    assert each["1"].backward_flops == 2 * 3 * one  # and as much for the product with w


def test_the_loss_is_what_was_given_or_the_outputs_own_or_a_mean():
    class Net(nn.Linear):
        def forward(self, x: torch.Tensor) -> Any:
            y = super().forward(x)
            return {"loss": y.sum(), "other": (y @ y.T)}

    one = 2 * 3 * 4 * 8
    given = "f32[3,8]"
    assert numel.summary(Net(8, 4), given, backward=True).backward_flops == one
    mean = numel.summary(nn.Linear(8, 4), given, loss=lambda y: (y @ y.T).mean())
    assert mean.backward_flops == one + 2 * (2 * 3 * 3 * 4)  # y · yᵀ goes back to both of its sides
    root = rows(mean)[""]
    assert root.backward_flops == mean.backward_flops

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 4), nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> Any:
            return SimpleNamespace(loss=None), [self.a(x)], {"b": self.b(x), "n": 3}

    assert numel.summary(Two(), given, backward=True).backward_flops == 2 * one


@pytest.mark.parametrize(
    ("loss", "says"),
    [(lambda y: y, r"loss: returned a tensor of shape \(3, 4\); expected one number"), (lambda y: "no", "'str'")],
)
def test_a_loss_that_is_no_number_is_one_line(loss, says):
    with pytest.raises(InputsError, match=says):
        numel.summary(nn.Linear(8, 4), "f32[3,8]", loss=loss)


def test_a_loss_that_raises_leaves_the_forwards_numbers_whole():
    def loss(y: torch.Tensor) -> torch.Tensor:
        raise KeyError("labels")

    report = numel.summary(nn.Linear(8, 4), "f32[3,8]", loss=loss)
    assert report.trace is not None
    assert report.trace.failure is not None
    assert (report.trace.failure.phase, report.trace.failure.error) == ("backward", "KeyError")
    assert report.macs == 3 * 8 * 4
    assert report.costs.total.exact
    assert report.backward is not None
    assert report.backward.total.at_least
    assert not report.exact


class Wall(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        raise ValueError("no way back")


def test_a_backward_pass_that_stops_makes_lower_bounds_of_every_module():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(Wall.apply(self.a(x)))

    report = numel.summary(Net(), "f32[3,8]", backward=True)
    each = rows(report)
    assert report.costs.total.exact
    assert each["b"].backward_flops == 2 * 2 * 3 * 8 * 8
    assert each["a"].backward.at_least
    assert each["a"].backward_flops == 0


class Overwriting(nn.Module):
    """Writes to something after it was used: what that was is kept by an exponential, by a product, or by nothing."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.norm = nn.BatchNorm1d(3)
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.norm(x))  # which writes to running statistics that it also keeps, and may
        y = x.mul(self.weight).mul_(2)
        match self.how:
            case "the result":
                y = y.exp()
                y.mul_(2)
            case "a factor":
                z = y * self.weight
                y.t()[:1].zero_()
                y = z
            case "a weight":
                y = y * self.weight
                with torch.no_grad():
                    self.weight.mul_(0.5)
            case "a sum":
                y = (y + 1).mul_(2).relu_()
            case "data":
                y = y.exp()
                y.data.mul_(2)
        return y


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["the result", "a factor", "a weight", "a sum", "data"])
def test_a_step_that_torch_refuses_since_what_it_needs_was_written_to_is_refused(how, mode):
    found = numel.summary(Overwriting(how), "f32[2,3]", mode=mode, backward=True).trace.failure
    said = []
    try:
        Overwriting(how)(torch.randn(2, 3)).mean().backward()
    except RuntimeError as error:
        said.append(str(error))
    if how in ("a sum", "data"):
        assert (said, found) == ([], None)
    else:
        assert found is not None
        assert found.phase == "backward"
        assert all("modified by an inplace operation" in words for words in (*said, found.message))
        assert len(said) == 1


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", MODES)
def test_what_is_saved_is_each_storage_once_without_the_models_own(mode):
    # linear keeps its input and its weight (the model's own), relu what it puts out, which the next linear keeps, too
    model = mlp(8, 16, 4)
    report = numel.summary(model, "f32[3,8]", mode=mode, backward=True)
    assert report.saved_nbytes == 4 * 3 * (8 + 16)
    each = rows(report)
    assert [each[path].saved_nbytes for path in ("0", "1", "2")] == [4 * 3 * 8, 4 * 3 * 16, 0]


@pytest.mark.parametrize("mode", MODES)
def test_the_peak_of_a_small_step_is_what_is_written_down_by_hand(mode):
    # y = relu(x · w) with 3 rows, 8 → 16, no bias; the mean of y goes back, and there is no optimizer.
    # At the peak: w, x, h = x · w kept by nobody (relu keeps its own output y), y, the loss, the gradient of y expanded
    # from one number (4 bytes) and divided (a tensor), then through relu (another one): g(y) and g(h) live at once, and
    # then g(h) with the gradient of w, when g(y) is gone.
    model = nn.Sequential(nn.Linear(8, 16, bias=False), nn.ReLU())
    report = numel.summary(model, "f32[3,8]", mode=mode, backward=True)
    w, x, y = 4 * 8 * 16, 4 * 3 * 8, 4 * 3 * 16
    loss = one = 4
    assert report.peak_nbytes == w + x + y + loss + one + max(2 * y, y + w)
    assert report.peak.by_category["parameter"] == w


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("optimizer", "moments"), [("adamw", 2), ("sgd", 0), (torch.optim.Adagrad, 1)])
def test_an_optimizers_state_is_there_at_the_peak(mode, optimizer, moments):
    model = mlp(32, 64, 16)
    params = numel.count(model).params
    report = numel.summary(model, "f32[3,32]", mode=mode, optimizer=optimizer)
    steps = 4 * 4 if moments else 0  # a counter for each of four parameters
    assert report.peak.by_category.get("optimizer", 0) == 4 * params * moments + steps
    assert report.peak.by_category["gradient"] == 4 * params
    assert report.optimizer.total.elementwise >= params
    assert report.optimizer.total.macs == 0


def test_what_is_kept_and_what_lives_at_the_peak_are_explained():
    report = numel.summary(mlp(8, 16, 16, 4), "f32[3,8]", optimizer="adamw")
    (kept,) = (block for block in report.explain("saved_nbytes").document().blocks if isinstance(block, Table))
    # the first linear keeps what comes in, either relu what it puts out, which the next linear needs as well
    assert [(row[0], row[1], row[2].value) for row in kept.rows] == [("*", 3, report.saved_nbytes)]
    assert report.saved_nbytes == 4 * 3 * (8 + 16 + 16)
    (alive,) = (block for block in report.explain("peak_nbytes").document().blocks if isinstance(block, Table))
    assert sum(row[1].value for row in alive.rows) == report.peak_nbytes
    assert alive.caption.endswith("optimizer")
    with pytest.raises(ViewError, match="no backward pass was traced"):
        numel.summary(mlp(8, 4), "f32[3,8]").explain("saved_nbytes").document()


def test_live_bytes_never_go_below_zero_and_frees_are_of_what_was_allocated():
    report = numel.summary(Checkpointed(8, False), "f32[3,8]", optimizer="adam")
    live = 0
    for event in report.trace.events:
        if event.kind != "save":
            live += event.nbytes if event.kind == "allocate" else -event.nbytes
            assert live >= 0
    kinds = {event.category for event in report.trace.events}
    assert kinds == {"parameter", "input", "activation", "gradient", "optimizer", "temporary"}


@pytest.mark.parametrize("mode", MODES)
def test_a_checkpoint_lets_go_of_what_it_computed_again(mode):
    """Blocks of two layers with 2n activations of one size between them: kept are the n inputs, and at most one block's
    own when that runs again; without checkpoints all are kept."""
    size, blocks = 4 * 64 * 32, 6

    class Chain(nn.Module):
        def __init__(self, again: bool) -> None:
            super().__init__()
            self.again = again
            self.blocks = nn.ModuleList(mlp(32, 32, 32) for _ in range(blocks))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False) if self.again else block(x)
            return x

    kept, again = (numel.summary(Chain(each), "f32[64,32]", backward=True, mode=mode) for each in (False, True))
    assert kept.peak_nbytes - again.peak_nbytes >= (blocks - 2) * size


def test_a_step_is_the_same_where_gradients_are_off():
    model = mlp(8, 4)
    expected = numel.summary(model, "f32[3,8]", backward=True).backward_flops
    for off in (torch.inference_mode(), torch.no_grad()):
        with off:
            assert numel.summary(model, "f32[3,8]", backward=True).backward_flops == expected == 2 * 96


def test_a_packed_lstm_runs_for_real_where_its_kernel_tells_what_is_kept():
    class Packed(nn.LSTM):
        def forward(self, x: torch.Tensor) -> Any:  # type: ignore[override]
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.full((4,), 6), batch_first=True)
            return super().forward(packed)[0].data

    model, x = Packed(8, 16, batch_first=True), torch.zeros(4, 6, 8)
    auto, real = (numel.summary(model, x, backward=True, mode=mode) for mode in ("auto", "real"))
    assert auto.saved_nbytes == real.saved_nbytes
    assert auto.backward_flops == real.backward_flops


def test_a_recurrent_layer_on_a_cpu_has_the_peak_of_the_real_one():
    model = nn.GRU(16, 16, 2, batch_first=True)
    auto, real = (numel.summary(model, "f32[4,8,16]", backward=True, mode=mode) for mode in ("auto", "real"))
    assert (auto.peak_nbytes, auto.saved_nbytes) == (real.peak_nbytes, real.saved_nbytes)


def test_an_lstm_on_a_cpu_keeps_a_workspace_that_only_a_real_run_tells():
    model = nn.LSTM(8, 16)
    stood_in, real = (numel.summary(model, "f32[5,2,8]", mode=mode, backward=True) for mode in ("auto", "real"))
    assert stood_in.mode == "fake"
    assert stood_in.saved_nbytes < real.saved_nbytes
    assert not stood_in.exact
    assert "workspace" in [note.code for note in stood_in.notes]
    assert real.exact


@pytest.mark.parametrize("enabled", [True, False])
def test_an_autocast_inside_of_a_forward_is_not_missed_on_tensors_without_a_device(enabled):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
                return self.b(F.gelu(self.a(x))).float()

    auto, real = (numel.summary(Net(), "f32[4,8]", mode=mode, backward=True) for mode in ("auto", "real"))
    assert auto.mode == ("fake" if enabled else "meta")
    assert [op.outputs for op in auto.ops] == [op.outputs for op in real.ops]
    # what comes in, goes into the activation and comes out of it; cast, the second weight as well
    assert auto.saved_nbytes == real.saved_nbytes == (2 * (3 * 32 + 64) if enabled else 4 * 3 * 32)


# ── nothing is left ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fails", [False, True], ids=["works", "raises"])
def test_a_training_step_leaves_no_trace(mode, fails):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 2))
    model[4].weight.grad = torch.ones_like(model[4].weight)
    model[0].weight.register_hook(lambda g: g * 2)
    before = fingerprint(model)

    def loss(y: torch.Tensor) -> torch.Tensor:
        if fails:
            raise RuntimeError("no")
        return F.cross_entropy(y, torch.zeros(len(y), dtype=torch.int64, device=y.device))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = numel.summary(model, "f32[2,3,8,8]", mode=mode, loss=loss, optimizer="adamw")
    assert (report.trace.failure is not None) == fails
    assert not differences(before, fingerprint(model))
    assert torch._C._autograd._top_saved_tensors_default_hooks(True) is None


@pytest.mark.parametrize("mode", MODES)
def test_an_optimizer_that_is_given_is_as_before(mode):
    model = mlp(8, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(2, 8)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)  # wraps `step` on the instance
    called: list[Any] = []
    optimizer.register_step_post_hook(lambda *_: called.append(1))
    state = {k: {n: v.clone() for n, v in each.items()} for k, each in optimizer.state.items()}
    before = (fingerprint(model), [list(map(id, g["params"])) for g in optimizer.param_groups], vars(optimizer).copy())
    report = numel.summary(model, "f32[2,8]", mode=mode, optimizer=optimizer)
    after = (fingerprint(model), [list(map(id, g["params"])) for g in optimizer.param_groups], vars(optimizer).copy())
    assert report.trace.failure is None
    assert not differences(before[0], after[0])
    assert before[1:] == after[1:]
    assert all(torch.equal(v, state[k][n]) for k, each in optimizer.state.items() for n, v in each.items())
    assert not called
    assert scheduler.last_epoch == 0


class Counting(torch.optim.SGD):
    """One whose step fills what it holds, around another one's, as Lookahead does."""

    def __init__(self, params: Any, base: Any = None) -> None:
        super().__init__(params, lr=0.1)
        self.steps: list[int] = []
        self.base = base

    def step(self, closure: Any = None) -> Any:
        self.steps.append(len(self.steps))
        return super().step(closure) if self.base is None else self.base.step(closure)


def test_an_optimizer_with_a_memory_and_another_one_inside_is_as_before_and_counted():
    model = mlp(8, 4)
    inner = torch.optim.Adam(model.parameters())
    outer = Counting(model.parameters(), inner)
    before = fingerprint(model)
    report = numel.summary(model, "f32[2,8]", optimizer=outer)
    assert (outer.steps, dict(inner.state), dict(outer.state)) == ([], {}, {})
    assert not differences(before, fingerprint(model))
    alone = numel.summary(model, "f32[2,8]", optimizer=torch.optim.Adam(model.parameters()))
    assert report.optimizer.total.elementwise == alone.optimizer.total.elementwise
    assert report.trace.failure is None


def test_the_step_that_is_counted_is_the_second_one():
    # momentum: a product, a sum and the step; in the first step there is only the step
    model = nn.Linear(16, 16, bias=False)
    report = numel.summary(model, "f32[2,16]", optimizer=lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9))
    assert report.optimizer.total.elementwise == 3 * 256
    assert report.peak.by_category["optimizer"] == 4 * 256


class Teacher(nn.Module):
    """A loss with weights, statistics and a counter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Linear(16, 4))
        self.register_buffer("seen", torch.zeros(()))
        self.calls = 0

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.seen.add_(1)
        return F.mse_loss(y, self.net(y.detach()))


@pytest.mark.parametrize("mode", ["auto", *MODES])
@pytest.mark.parametrize("how", ["module", "closure"])
def test_a_loss_with_weights_of_its_own_is_as_before(mode, how):
    model, teacher = mlp(8, 4), Teacher()
    scale = nn.Parameter(torch.ones(()))
    for each in teacher.parameters():
        each.grad = torch.ones_like(each)
    before = fingerprint(teacher)
    loss = teacher if how == "module" else (lambda y: teacher(y) * scale)
    report = numel.summary(model, "f32[3,8]", loss=loss, mode=mode, optimizer="adamw")
    assert not differences(before, fingerprint(teacher))
    assert scale.grad is None
    if mode in ("auto", "real") or how == "module":
        assert report.trace.failure is None
        # the model's input, and of the loss: three layers' inputs and the statistics; not its weights
        assert report.saved_nbytes < 4 * (3 * 8 + 3 * (4 + 4 + 16 + 16 + 4) + 2 * 16 + 16)


def test_a_model_that_goes_nowhere_takes_no_step():
    report = numel.summary(mlp(8, 4).requires_grad_(False), "f32[3,8]", optimizer="adam")
    assert report.optimizer is None
    assert report.backward_flops == 0


def test_an_output_without_tensors_to_go_back_from_is_no_zero():
    class Boxed(nn.Linear):
        def forward(self, x: torch.Tensor) -> Any:
            return SimpleNamespace(a=super().forward(x))

    report = numel.summary(Boxed(8, 4), "f32[3,8]", backward=True)
    assert report.macs == 96
    assert report.backward.total.at_least
    assert "give a loss" in report.trace.failure.message
    assert numel.summary(Boxed(8, 4), "f32[3,8]", loss=lambda o: o.a.mean()).backward_flops == 2 * 96


def test_a_loss_gets_what_a_generator_gave_and_an_iterator_of_the_models_own_is_left_alone():
    class Stream(nn.Linear):
        def __init__(self) -> None:
            super().__init__(8, 4)
            self.own = iter([1, 2, 3])

        def forward(self, x: torch.Tensor) -> Any:
            return (super(Stream, self).forward(x) for _ in range(2)), self.own

    model = Stream()
    report = numel.summary(model, "f32[3,8]", loss=lambda o: sum(o[0]).mean())
    assert report.trace.failure is None
    assert (report.macs, report.backward_flops) == (2 * 96, 2 * 2 * 96)
    assert list(model.own) == [1, 2, 3]


def test_attention_without_numel_is_what_it_was():
    q = torch.empty(1, 2, 8, 4, device="meta", requires_grad=True)
    name = type(F.scaled_dot_product_attention(q, q, q).grad_fn).__name__
    numel.summary(nn.MultiheadAttention(8, 2), "f32[4,1,8], f32[4,1,8], f32[4,1,8]", backward=True)
    assert type(F.scaled_dot_product_attention(q, q, q).grad_fn).__name__ == name


@pytest.mark.parametrize(
    ("optimizer", "says"),
    [
        ("adamv", "expected one of"),
        (3, "expected a torch.optim.Optimizer"),
        (torch.optim.SGD([torch.ones(1)]), "holds no"),
        ("lbfgs", "LBFGS computes the loss again"),
        (torch.optim.LBFGS([torch.ones(1)]), "LBFGS computes the loss again"),
        (lambda ps: torch.optim.LBFGS(ps), "LBFGS computes the loss again"),
        ("sparse_adam", "sparse gradients alone"),
        (torch.optim.SparseAdam, "sparse gradients alone"),
    ],
)
def test_what_is_no_optimizer_of_this_model_is_one_line(optimizer, says):
    with pytest.raises(InputsError, match=says):
        numel.summary(mlp(8, 4), "f32[2,8]", optimizer=optimizer)


def test_an_optimizer_of_sparse_gradients_takes_them():
    model = nn.Embedding(10, 4, sparse=True)
    report = numel.summary(model, torch.tensor([1, 2, 3]), optimizer="sparse_adam", mode="real")
    assert report.trace.failure is None
    assert report.peak.by_category["optimizer"] == 2 * 4 * 10 * 4  # two moments, dense


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (nn.CrossEntropyLoss, r"CrossEntropyLoss is a class.*lambda y: CrossEntropyLoss\(\)\(y, target\)"),
        (nn.CrossEntropyLoss(), "CrossEntropyLoss can not be called with the output alone.*'target'"),
        (F.cross_entropy, "cross_entropy can not be called with the output alone.*'target'"),
        (lambda output: nn.MSELoss, "returned 'type'"),
    ],
)
def test_what_is_no_loss_of_the_output_is_one_line(loss, says):
    with pytest.raises(InputsError, match=says) as caught:
        numel.summary(mlp(8, 4), "f32[2,8]", loss=loss)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("loss", [torch.mean, torch.Tensor.sum, lambda y, scale=2: scale * y.mean()])
def test_what_takes_the_output_is_a_loss(loss):
    assert numel.summary(mlp(8, 4), "f32[2,8]", loss=loss).backward_flops == 2 * 2 * 8 * 4


def test_a_saved_report_gives_the_same_training_numbers(tmp_path):
    report = numel.summary(Checkpointed(8, True), "f32[3,8]", optimizer="adamw")
    report.save(tmp_path / "r.json")
    again = numel.load(tmp_path / "r.json")
    for name in ("backward_flops", "recompute_flops", "saved_nbytes", "peak_nbytes", "peak", "layers"):
        assert getattr(again, name) == getattr(report, name)


# ── who reads and writes ─────────────────────────────────────────────────────────────────────────────────────────────


class Reading(torch.autograd.Function):
    """A gradient whose value is looked at."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad if grad.sum().item() else grad * 2


class Centred(nn.Linear):
    """One that writes to its own weight."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.weight.sub_(1)
        return super().forward(x)


def read(y: torch.Tensor) -> torch.Tensor:
    return y.mean() if y.sum().item() else y.sum()


@pytest.mark.parametrize(
    ("model", "options", "who"),
    [
        (nn.Linear(8, 4), {"loss": read}, "the loss"),
        (nn.Sequential(nn.Linear(8, 4)), {"loss": lambda y: Reading.apply(y).square().sum()}, "the backward pass"),
    ],
)
def test_what_reads_values_is_named(model, options, who):
    report = numel.summary(model, torch.ones(2, 8), **options)
    said = {note.code: note.text for note in report.notes}
    assert report.mode == "real"
    assert said["step-down"].startswith(f"not on meta tensors nor on fake tensors: {who} reads a value")
    assert said["by-value"].startswith(f"in {who}, values are read")


@pytest.mark.parametrize(
    ("model", "options", "who"),
    [
        (Centred(8, 4), {"backward": True}, "the forward"),
        (nn.Linear(8, 4), {"optimizer": "sgd"}, "the optimizer's step"),
        (Centred(8, 4), {"optimizer": "sgd"}, "the forward and the optimizer's step"),
    ],
)
def test_what_writes_to_weights_is_named(model, options, who):
    report = numel.summary(model, torch.ones(2, 8), mode="real", **options)
    said = {note.code: note.text for note in report.notes}
    assert said["weights-written"].startswith(f"{who} wrote")


# ── transforms in the forward ────────────────────────────────────────────────────────────────────────────────────────


class Inner(nn.Module):
    """A layer whose output is moved by the gradient of a loss of its own, of all rows or of each."""

    def __init__(self, *, each: bool) -> None:
        super().__init__()
        self.inner, self.fc = nn.Linear(4, 4), nn.Linear(4, 4)
        self.each = each

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def own_loss(weights: Any, rows: torch.Tensor) -> torch.Tensor:
            return functional_call(self.inner, weights, (rows,)).pow(2).sum()

        moved = torch.func.grad(own_loss)
        weights = dict(self.inner.named_parameters())
        return self.fc(x) + (torch.func.vmap(moved, (None, 0)) if self.each else moved)(weights, x)["bias"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("each", [False, True])
def test_a_gradient_inside_of_the_forward_hides_what_it_saves_and_nothing_else(mode, each):
    """torch allows no hooks on saved tensors there. The layers around keep 3 rows of 4 each; the work is what
    torch's own counter sees of a bare step."""
    model = nn.Sequential(nn.Linear(4, 4), Inner(each=each), nn.Linear(4, 4))
    with FlopCounterMode(display=False) as counter:
        model(torch.ones(3, 4)).mean().backward()
    before = fingerprint(model)
    report = numel.summary(model, torch.ones(3, 4), backward=True, mode=mode)
    assert not differences(before, fingerprint(model))
    assert report.flops == numel.summary(model, torch.ones(3, 4), mode=mode).flops
    assert report.flops + report.backward_flops == counter.get_total_flops()
    rows = 4 * 3 * 4
    kept = {path: report.saved_for_backward.cell(path) for path in ("", "0", "1", "1.fc", "2")}
    sure = {"0": rows, "1.fc": rows, "2": rows}
    assert kept == {"": Quantity(3 * rows, "bytes", True), "1": Quantity(rows, "bytes", True), **sure}
    assert [note.path for note in report.notes if note.code == "saved-unseen"] == ["1"]
    assert not report.exact


def test_hooks_of_the_forward_itself_are_as_forbidden_around_a_gradient_as_without_us():
    class Offloading(Inner):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
                return super().forward(x)

    disable = torch.autograd.graph.disable_saved_tensors_hooks
    with pytest.raises(RuntimeError, match="saved tensor hooks"):
        Offloading(each=False)(torch.ones(3, 4))
    report = numel.summary(Offloading(each=False), torch.ones(3, 4), backward=True)
    assert "saved tensor hooks" in report.trace.failure.message
    assert torch.autograd.graph.disable_saved_tensors_hooks is disable
