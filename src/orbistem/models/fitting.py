"""How an OrbitVAE is fitted: short trainings compare the starts, a long one goes on from the better."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from orbistem.groups import Group
from orbistem.harmonics.count_nodes import CountNodes
from orbistem.harmonics.steerable_pca import FAINT_SIGNAL, SteerableBasis
from orbistem.models.angle import make_orders
from orbistem.models.angle_zero import find_angle_zero
from orbistem.models.choice import Outcome, better_start, choose, long_starts
from orbistem.models.counting import Counting
from orbistem.models.finish import agree, encoded, evenly, finish, judge
from orbistem.models.full_products import full_products
from orbistem.models.infer import too_little_memory
from orbistem.models.mirror_images import mirror_words
from orbistem.models.objective import OrbitProblem
from orbistem.models.orbit import LIBRARY_SIZE, USUAL, OrbitVAE, OrbitVAEOptions, as_pairs
from orbistem.models.orbit_vae import OrbitNet
from orbistem.models.polish import polish
from orbistem.models.protocol import TrainingReport
from orbistem.models.stage import StageData, run_stage
from orbistem.models.together import Shared, side_by_side
from orbistem.models.train import Loop
from orbistem.models.turns import ANY_TURN, Turns, find_mirror_line, make_turns
from orbistem.progress import Progress, Silent

SCOUT_ROUNDS = 5
SEVERAL_DRAWS_SIGNAL = 300.0
"""Signal of a pattern, in nats, below which the bound of several draws is worth its cost."""
SEVERAL_DRAWS = 2
FEW_PATTERNS, FEW_RESTARTS, WITH_MIRRORS = 8192, 3, 2
"""Held-out evidence of trainings of 1,681 measured patterns lay 40 nats apart; three find a good one."""
SMALL_FIT, SMALL_RESTARTS = 50_000, 4
"""Patterns times coefficients below which mirror images get more trainings, short ones there: of two each on
graphene at 10⁶, those of one seed in seven drew the hands apart (fold error 0.068 instead of 0.037)."""
ROUGH_LENGTH = 1.75
"""Length of long trainings where the noise is a guess: their evidence still rises at the end of the usual
2,000 steps (SrTiO₃ tilt scan, three trainings each, nats per pattern: -288, -287, -285; with 3,500: -281,
-279, -273)."""
WORTH_POLISHING = 1.0
"""Gain in held-out evidence, nats per pattern, without which templates stay as trained."""
ROUGH_LEVEL = 1.03
"""Median noise eigenvalue above which structure is left in every order (1.00 to 1.01 for shot noise)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A model, how its training went, and the evidence of its held-out patterns, (n,), when asked."""

    model: OrbitVAE
    report: TrainingReport
    evidence: Callable[[], np.ndarray]


@full_products
def fit_one(
    coefficients: np.ndarray,
    *,
    basis: SteerableBasis,
    counts: CountNodes | None,
    options: OrbitVAEOptions,
    seed: int,
    progress: Progress | None,
    checkpoint: Path | None,
    threads: int | None = None,
) -> Fitted:
    """Fit with a given group and number of latents; see `OrbitVAE.fit`."""
    progress = Shared(progress or Silent())
    options = settled(options, basis, counted=counts is not None)
    bright = basis.signal_nats > FAINT_SIGNAL
    if bright:
        counts = None
    began = time.perf_counter()
    turns = _turns(coefficients, basis, options)
    data = _split(coefficients, basis, counts, turns, share=options.heldout_share, seed=seed)
    starts = {"learned": ("mean", "zero"), "mean": ("mean",)}.get(options.background, ("zero",))
    plain = options
    if data.counting is not None:  # the starts differ by far more than the bounds
        plain = replace(options, net=replace(options.net, draws=1))
    scout_steps = min(options.scout_steps, options.train.steps)
    scout = replace(options.train, steps=max(scout_steps, 1), rounds=SCOUT_ROUNDS)
    restarts = options.restarts
    if not restarts:
        restarts = 1 if data.counting is not None else usual_restarts(len(data.train), basis.n_kept, turns)
    loops: dict[bool, Loop] = {}
    progress.start("train", len(starts) * scout_steps + restarts * options.train.steps)
    try:
        train = partial(run_stage, data, loops=loops, progress=progress, checkpoint=checkpoint)
        together = partial(side_by_side, threads=threads, progress=progress)
        scouts = together(
            [
                partial(train, plain, scout, start, seed=seed + 101 * i, stage=i)
                for i, start in enumerate(starts if scout_steps else ())
            ]
        )
        best = better_start(scouts) if scouts else None
        long = (starts[0],) * restarts if best is None else long_starts(best, scouts, n=restarts)
        kept_offset = None
        if data.counting is not None:
            kept_offset = data.mean if best is None else _offset(best.net)
        mains = together(
            [
                partial(
                    train,
                    options,
                    options.train,
                    start,
                    seed=seed + 1009 * (i + 1),
                    stage=len(starts) + i,
                    settled_offset=kept_offset,
                )
                for i, start in enumerate(long)
            ]
        )
    finally:
        progress.finish()
    # with shot noise that follows the signal the evidence has another scale than that of the scouts; and of
    # several long trainings one has always been better than the short ones
    compared = mains if data.counting is not None or len(mains) > 1 else [*mains, *scouts]
    winner, ranked = choose(
        compared,
        [*scouts, *mains],
        train=np.asarray(data.train),
        heldout=np.asarray(data.heldout),
        orders=data.orders,
        eigenvalue=data.eigenvalue,
        options=options,
        seed=seed,
        bright=bright,
    )
    others = [o for o in mains if o.net is not winner.net] or ranked[1:]
    winner, polish_words = _polished(winner, data, options, seed=seed, progress=progress)
    alike = [o for o in others if o.restart.start == winner.restart.start] or others
    model, *other = (
        finish(
            outcome.net,
            outcome.model_error,
            pairs=data.pairs,
            orders=data.orders,
            eigenvalue=data.eigenvalue,
            options=options,
            seed=seed,
            most_entries=min(LIBRARY_SIZE, len(data.train)),
            only_compared=outcome is not winner,
        )
        for outcome in (winner, *alike[:1])
    )
    if options.angle_zero == "polar":
        model = model.with_zero(find_angle_zero(basis))
    agreement = agree(model, other[0], data.pairs) if other else None
    problem = _problem(model)
    images: tuple[str, ...] = ()
    if turns == ANY_TURN and data.counting is None and model.active.any():
        heldout = np.asarray(data.heldout)
        heldout = heldout[..., 0] + 1j * heldout[..., 1]
        images = mirror_words(model, heldout, signal_nats=basis.signal_nats)
    near = _near_words(winner, ranked, bright=bright)
    report = TrainingReport(
        steps=sum(o.restart.steps for o in ranked),
        patterns_per_s=mains[0].patterns_per_s,
        first_epoch_s=[*scouts, *mains][0].first_round_s,
        kept_coefficients=basis.n_kept,
        active=tuple(bool(x) for x in model.active),
        heldout_evidence=winner.restart.heldout,
        restarts=tuple(o.restart for o in reversed(ranked)),
        agreement=agreement,
        problem=problem,
        words=(
            *_words(scouts, mains, winner, agreement, time.perf_counter() - began, near),
            *polish_words,
            *_zero_words(model, options),
            *images,
        ),
    )

    def evidence() -> np.ndarray:
        judged = judge(
            winner.net,
            winner.model_error,
            train=np.asarray(data.train),
            orders=data.orders,
            options=options,
            seed=seed,
        )
        return judged.evidence(np.asarray(data.heldout))

    return Fitted(model=model, report=report, evidence=evidence)


def settled(options: OrbitVAEOptions, basis: SteerableBasis, *, counted: bool = False) -> OrbitVAEOptions:
    """Options with what was left open settled by the spectrum of the coefficients.

    Structure that stands in the bulk of the eigenvalues as well will not fit on a few latents: there the
    model error is followed during training. Where one pattern says little, several draws tighten the
    bound. In both cases the decoder's prior has its full weight.
    Where shot noise is the limit, mirror images double the patterns: averaging over mirrors costs nothing.
    So they do where structure stands in the bulk, of which less is then learned by heart, and trainings are
    longer (SrTiO₃ tilt scan, fold error of eight trainings 0.124 to 0.171, mean 0.152; of six with mirror
    images 0.112 to 0.153, mean 0.131; the one that evidence chose of three longer ones 0.104).
    Not where only some turns are allowed: a mirror image then lies at an angle of its own.
    Where a pattern shows enough to be told from its mirror image, both are one site unless said otherwise;
    not where the angle is a direction, which a pattern and its mirror image do not share.
    """
    if options.group == USUAL:
        told = basis.signal_nats > FAINT_SIGNAL and options.angle_zero == "free"
        options = replace(options, group="O2" if told else "SO2")
    faint = basis.signal_nats < SEVERAL_DRAWS_SIGNAL
    rough = basis.noise_level > ROUGH_LEVEL and not counted
    net, train = options.net, options.train
    return replace(
        options,
        train=replace(train, steps=round(ROUGH_LENGTH * train.steps)) if rough else train,
        net=replace(
            net,
            draws=net.draws or (SEVERAL_DRAWS if faint and not rough else 1),
            mirrored=(counted or rough) and Group.from_name(options.group).continuous
            if net.mirrored is None
            else net.mirrored,
            model_error_share=(0.25 if rough else 0.0)
            if net.model_error_share < 0
            else net.model_error_share,
            prior_strength=(1.0 if rough or faint else 0.1) if net.prior_strength < 0 else net.prior_strength,
        ),
    )


def _polished(
    winner: Outcome,
    data: StageData,
    options: OrbitVAEOptions,
    *,
    seed: int,
    progress: Progress,
) -> tuple[Outcome, tuple[str, ...]]:
    """The kept training with its decoder fitted to refined latents, where that pays; what was done.

    Not where the noise is a guess: what templates miss may then be noise (SrTiO₃ tilt scan: fold error 0.112
    before, 0.129 after, with 17 nats more evidence).
    """
    if options.net.model_error_share > 0:
        return winner, ()
    train, heldout = np.asarray(data.train), np.asarray(data.heldout)
    training = OrbitProblem(
        data.orders, data.eigenvalue, n_patterns=len(train), options=options.net, train_offset=False
    )
    try:
        found = polish(
            winner.net,
            winner.model_error,
            train=train,
            heldout=heldout,
            library=encoded(winner.net, evenly(train, LIBRARY_SIZE)),
            training=training,
            refine_steps=options.refine_steps,
            seed=seed,
            progress=progress,
        )
    except jax.errors.JaxRuntimeError as fault:
        if not too_little_memory(fault):
            raise
        return winner, ("templates stay as trained: to fit them further the device has too little memory",)
    if found.after - found.before < WORTH_POLISHING:
        return winner, ()
    said = (
        "its templates were then fitted to refined latents, without the encoder (held-out evidence with a "
        f"Gaussian posterior, nats per pattern: {found.before:.1f} before, {found.after:.1f} after)"
    )
    return replace(winner, net=found.net), (said,)


def _offset(net: OrbitNet) -> np.ndarray:
    """Static offset in noise units, (k, 2)."""
    scale = np.asarray(net.decoder.scale) * (1 - np.asarray(net.decoder.real))
    return np.asarray(np.asarray(net.offset) * scale[:, None], dtype=np.float64)


def usual_restarts(n_patterns: int, n_kept: int, turns: Turns) -> int:
    """How many long trainings: a small scan is learned by heart sooner or later, depending on the start.

    Where mirror images are one site the latents have less to hold, and trainings differ less.
    """
    if n_patterns > FEW_PATTERNS:
        return 1
    if not (turns.free and turns.mirrors):
        return FEW_RESTARTS
    return SMALL_RESTARTS if n_patterns * n_kept < SMALL_FIT else WITH_MIRRORS


def _split(
    coefficients: np.ndarray,
    basis: SteerableBasis,
    counts: CountNodes | None,
    turns: Turns,
    *,
    share: float,
    seed: int,
) -> StageData:
    pairs = as_pairs(coefficients)
    order = np.random.default_rng(seed).permutation(len(pairs))
    n_heldout = min(max(8, round(share * len(pairs))), 4096, len(pairs) // 4)
    orders = make_orders(basis.order)
    return StageData(
        pairs=pairs,
        train=jnp.asarray(pairs[order[n_heldout:]]),
        heldout=jnp.asarray(pairs[order[:n_heldout]]),
        mean=pairs.mean(axis=0, dtype=np.float64),
        orders=orders,
        eigenvalue=np.asarray(basis.eigenvalue),
        counting=None
        if counts is None
        else Counting(jnp.asarray(counts.waves, jnp.float32), jnp.asarray(counts.electrons, jnp.float32)),
        turns=turns,
    )


def _turns(coefficients: np.ndarray, basis: SteerableBasis, options: OrbitVAEOptions) -> Turns:
    """The group, with its mirror line given or found where it has one."""
    turns = make_turns(options.group)
    if turns.free or not turns.mirrors:
        return turns
    if options.mirror_line_deg is None:
        line = find_mirror_line(coefficients, basis.order)
    else:
        line = float(np.deg2rad(options.mirror_line_deg))
    return replace(turns, mirror_rad=float(np.mod(2 * line, 2 * np.pi)))


def _problem(model: OrbitVAE) -> str | None:
    if model.active.any():
        return None
    return (
        "no latent rises above its own uncertainty: at this dose the patterns show no structure that "
        "repeats up to a turn; bin the scan, raise the dose, or check the centre"
    )


def _zero_words(model: OrbitVAE, options: OrbitVAEOptions) -> tuple[str, ...]:
    if options.angle_zero != "polar":
        return ()
    if model.zero is None:
        return (
            "no pattern shows a polar direction above the noise (order 1), so the zero of the angle was left "
            "free",
        )
    return (
        "the angle is the direction in which a site is polar (its order 1); where a site is not, angle_sd is "
        "large, up to 1.81 rad where nothing is known",
    )


def _near_words(winner: Outcome, ranked: list[Outcome], *, bright: bool) -> tuple[str, ...]:
    """Why a training was kept that has not the most evidence."""
    kept, most = (max(o.restart.refined or -np.inf for o in some) for some in ([winner], ranked))
    if not kept < most:
        return ()
    why = (
        "its latents move least when noise is added"
        if bright
        else "it began from the usual background or agrees more with the others"
    )
    return (f"another training had {most - kept:.2f} nats per pattern more; this one was kept since {why}",)


def _words(
    scouts: list[Outcome],
    mains: list[Outcome],
    winner: Outcome,
    agreement: float | None,
    seconds: float,
    near: tuple[str, ...],
) -> tuple[str, ...]:
    said: list[str] = []
    if len(scouts) > 1:
        scores = ", ".join(f"{o.restart.start} {o.restart.heldout:.1f}" for o in scouts)
        said.append(
            f"the static background was learned, started from '{winner.restart.start}' "
            f"(held-out evidence of short trainings, nats per pattern: {scores})"
        )
    evidence = winner.restart.heldout if winner.restart.refined is None else winner.restart.refined
    said.append(
        f"trained {len(scouts) + len(mains)} times ({seconds:.0f} s); kept: the parameters with "
        f"{'nearly ' if near else ''}the best held-out evidence ({evidence:.1f} nats per pattern, "
        f"{winner.restart.steps} steps)"
    )
    said += near
    if agreement is not None:
        said.append(f"an independent training explains {100 * agreement:.0f} % of the latent variation")
    return tuple(said)
