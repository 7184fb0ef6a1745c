"""Explain decisions and score each method on drawn faces, where we know the ground truth: notebooks 05 and A2.

`fervt protocol attribution` scores them on three models and writes data/results/protocol-attribution.json.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from captum.attr import (
    FeatureAblation,
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    NoiseTunnel,
    Saliency,
    ShapleyValueSampling,
)
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from drawn_faces import ACTION_UNITS
from fervt_lib import explain, plots
from fervt_lib.data import EXPRESSIONS, load
from fervt_lib.disk import read_json, write_json
from fervt_lib.model import FERVT, fervt_compact, weights_to_map
from fervt_lib.training import Recipe, train

from .records import RESULTS, read_record

Method = Callable[[FERVT, Tensor, Tensor], Tensor]
"""Takes a model, faces `(b, 3, 48, 48)` and a class for each, `(b,)`; returns heat `(b, 48, 48)`."""

GRID = 4  # regions per side
REGIONS = weights_to_map(torch.arange(GRID**2)[None, :, None].expand(1, -1, 3), GRID, (48, 48))  # (1, 3, 48, 48), 0-15
AT_ONCE = 64  # faces per forward pass
RECIPE = Recipe(dataset="drawn", epochs=12, batch_size=64, ema_decay=0.98)  # for the models next to the shipped one
SEEDS, FACES, STEPS, ORDERS = (0, 1, 2), 200, 4, 4
GOOD = {"deletion": "low", "insertion": "high", "unexplained": "low", "unsteady": "low"}  # where it is not obvious
RECORD = RESULTS / "protocol-attribution.json"
FEWER = 70  # faces per model for the scores that need a second explanation of every face


# --- methods ------------------------------------------------------------------------------------------------------


def mean_gray(x: Tensor) -> Tensor:
    """Each face's own mean, `(b, 3, h, w)`: an empty picture of the same brightness."""
    return x.mean(dim=(2, 3), keepdim=True).expand_as(x)


def gradient(model: FERVT, x: Tensor, target: Tensor) -> Tensor:
    """The absolute gradient at the face itself (Simonyan et al. 2014)."""
    leaf = x.clone().requires_grad_()  # Captum warns unless the input already requires gradients
    return Saliency(model).attribute(leaf, target=target, abs=False).sum(dim=1).abs()


def smooth_gradient(model: FERVT, x: Tensor, target: Tensor, copies: int = 8) -> Tensor:
    """The mean gradient over noisy copies (Smilkov et al. 2017); the noise is the same in every call."""
    how = {"nt_samples": copies, "nt_samples_batch_size": max(1, AT_ONCE // len(x)), "stdevs": 0.08, "abs": False}
    with torch.random.fork_rng(devices=[]):  # leave everyone else's random numbers alone
        torch.manual_seed(0)
        leaf = x.clone().requires_grad_()
        return NoiseTunnel(Saliency(model)).attribute(leaf, target=target, **how).sum(dim=1).abs().detach()


def integrated_gradients(model: FERVT, x: Tensor, target: Tensor, steps: int = 12) -> Tensor:
    """Gradients along the path from the mean gray to the face (Sundararajan et al. 2017)."""
    how = {"baselines": mean_gray(x), "n_steps": steps, "internal_batch_size": max(AT_ONCE, len(x))}
    return IntegratedGradients(model).attribute(x.clone().requires_grad_(), target=target, **how).sum(dim=1).detach()


def occlusion(model: FERVT, x: Tensor, target: Tensor) -> Tensor:
    """How far the logit drops when one region of the grid turns gray and the others stay (Zeiler and Fergus 2014)."""
    how = {"baselines": mean_gray(x), "feature_mask": REGIONS, "perturbations_per_eval": max(1, AT_ONCE // len(x))}
    with torch.no_grad():
        return FeatureAblation(model).attribute(x, target=target, **how)[:, 0]


def shapley(model: FERVT, x: Tensor, target: Tensor, orders: int = ORDERS) -> Tensor:
    """What a region adds when we add regions one by one, averaged over random orders (Castro et al. 2009)."""
    how = {"baselines": mean_gray(x), "feature_mask": REGIONS, "n_samples": orders, "perturbations_per_eval": 1}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return ShapleyValueSampling(model).attribute(x, target=target, **how)[:, 0]


def grad_cam(model: FERVT, x: Tensor, target: Tensor, level: int = 3) -> Tensor:
    """The maps of one pyramid level, each weighted by its mean gradient (Selvaraju et al. 2017)."""
    cam = LayerGradCam(model, getattr(model.backbone, f"stage{level}"))
    heat = cam.attribute(x.clone().requires_grad_(), target=target, relu_attributions=True)  # (b, 1, cells, cells)
    return LayerAttribution.interpolate(heat.detach(), x.shape[-2:], "bilinear")[:, 0]


def _over_the_face(model: FERVT, weights: Tensor, side: int) -> Tensor:
    """Turn token weights `(b, t)` into heat `(b, side, side)`."""
    return torch.stack([explain.token_heat(one, model.tokens.cells, side) for one in weights])


def rollout(model: FERVT, x: Tensor, target: Tensor) -> Tensor:
    """Attention multiplied through the layers, the same for every class (Abnar and Zuidema 2020)."""
    with torch.no_grad():
        return _over_the_face(model, explain.rollout(model.trace(x).attention), x.shape[-1])


def relevance(model: FERVT, x: Tensor, target: Tensor) -> Tensor:
    """Rollout of the attention that favors the class (Chefer et al. 2021)."""
    return _over_the_face(model, explain.relevance(model, x, target), x.shape[-1])


def region_weights(model: FERVT, x: Tensor, target: Tensor) -> Tensor:
    """The grid-wise attention itself, averaged over its three channels; the same for every class."""
    with torch.no_grad():
        weights = model.trace(x).region_weights.mean(dim=2, keepdim=True)  # (b, 16, 1)
    return weights_to_map(weights, GRID, x.shape[-2:])[:, 0]


def contrast(model: FERVT, x: Tensor, target: Tensor) -> Tensor:
    """A control: how far each pixel is from the mean gray. It does not use the model."""
    return (x - mean_gray(x)).abs().sum(dim=1)


def middle(model: FERVT, x: Tensor, target: Tensor) -> Tensor:
    """A control: a round spot in the middle, where faces tend to be. It ignores even the face."""
    line = torch.linspace(-1, 1, x.shape[-1]) ** 2
    return torch.exp(-2 * (line[:, None] + line)).expand(len(x), -1, -1)


METHODS: dict[str, Method] = {
    "gradient": gradient,
    "SmoothGrad": smooth_gradient,
    "integrated gradients": integrated_gradients,
    "occlusion": occlusion,
    "Shapley values": shapley,
    "Grad-CAM level 1": partial(grad_cam, level=1),
    "Grad-CAM level 2": partial(grad_cam, level=2),
    "Grad-CAM level 3": partial(grad_cam, level=3),
    "rollout": rollout,
    "relevance": relevance,
    "region weights": region_weights,
    "contrast (control)": contrast,
    "middle (control)": middle,
}


def speaks_for(heat: Tensor, blur: float = 2.0) -> Tensor:
    """The positive part of maps `(b, h, w)`, blurred by `blur` pixels."""
    heat = heat.clamp(min=0)
    return gaussian_blur(heat, kernel_size=25, sigma=blur) if blur else heat


# --- the truth ----------------------------------------------------------------------------------------------------


def explained_faces(model: FERVT, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, images and labels of the first `count` (or fewer) non-neutral test faces that the model gets right."""
    faces = load("drawn", "test", count=min(2 * count, 800))
    x = faces.images.expand(-1, 3, -1, -1) / 255
    with torch.no_grad():
        right = torch.cat([model(some).argmax(dim=1) for some in x.split(AT_ONCE)]) == faces.labels
    chosen = (right & (faces.labels != EXPRESSIONS.index("neutral"))).nonzero()[:count, 0]
    return chosen, x[chosen], faces.labels[chosen]


def unit_drops(model: FERVT, chosen: Tensor, x: Tensor, target: Tensor) -> Tensor:
    """How far the logit drops when the drawing switches an action unit off, `(n, units)`; 0 if it was already off."""
    before, after = logits_of(model, x, target), []
    for unit in ACTION_UNITS:
        twins = load("drawn", "test", count=int(chosen.max()) + 1, without=unit).images[chosen]
        after.append(logits_of(model, twins.expand(-1, 3, -1, -1) / 255, target))
    return before[:, None] - torch.stack(after, dim=1)


def logits_of(model: FERVT, x: Tensor, target: Tensor) -> Tensor:
    """The logit of each face's class, `(n,)`."""
    with torch.no_grad():
        return torch.cat([model(some) for some in x.split(AT_ONCE)]).gather(1, target[:, None])[:, 0]


def unit_heat(heat: Tensor, masks: Tensor) -> Tensor:
    """The share of each map's heat inside the region of each action unit, `(n, units)`; 0 where the unit is off.

    heat: `(n, h, w)`, not negative. masks: `(n, units, h, w)` bool.
    """
    inside = torch.einsum("nhw,nkhw->nk", heat, masks.to(heat))
    return inside / heat.sum(dim=(1, 2))[:, None].clamp(min=1e-12)


def picks_the_unit(heat: Tensor, drops: Tensor, on: Tensor) -> Tensor:
    """Whether the hottest action unit is also the one that matters most: `(n,)` zeros and ones.

    heat and drops: `(n, units)`. on: `(n, units)` bool, at least two per row.
    """
    hottest, worth_most = (torch.where(on, values, -torch.inf).argmax(dim=1) for values in (heat, drops))
    return (hottest == worth_most).double()


def pairs_in_order(heat: Tensor, drops: Tensor, on: Tensor) -> Tensor:
    """The share of pairs of a face's action units that heat and drop rank in the same order, `(n,)`, 0 to 1."""
    both = on[:, :, None] & on[:, None, :]  # (n, units, units)
    alike = (heat[:, :, None] - heat[:, None, :]) * (drops[:, :, None] - drops[:, None, :]) > 0
    return ((alike & both).sum(dim=(1, 2)) / (both.sum(dim=(1, 2)) - on.sum(dim=1))).double()


def follows_the_unit(heat: Tensor, drops: Tensor, on: Tensor) -> Tensor:
    """For each action unit: do faces where it matters more have more heat there? One rank correlation per unit.

    We compare only faces with the same unit, so the size of its region plays no role. We skip units that are on in
    fewer than ten faces.
    """
    often = (on.sum(dim=0) >= 10).nonzero()[:, 0]
    ranks = [[values[on[:, k], k].argsort().argsort().double() for k in often] for values in (heat, drops)]
    return torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(*ranks, strict=True)])


# --- what the model itself says -----------------------------------------------------------------------------------


def curve_heights(model: FERVT, x: Tensor, heat: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The mean height of each face's deletion curve and insertion curve, `(n,)` each."""
    curves = {"deletion": explain.deletion_curve, "insertion": explain.insertion_curve}
    faces = list(zip(x, heat, target.tolist(), strict=True))
    return {
        name: torch.stack([curve(model, *face, steps=STEPS).mean() for face in faces]).double()
        for name, curve in curves.items()
    }


def gray_rectangles(x: Tensor) -> tuple[Tensor, Tensor]:
    """Gray out a random rectangle of each face; return its mask (0 or 1) and the new face, each `(b, 3, h, w)`."""
    side, place = x.shape[-1], torch.arange(x.shape[-1])
    low, size = torch.randint(0, side - 8, (len(x), 2, 1)), torch.randint(8, side // 2 + 1, (len(x), 2, 1))
    rows, columns = ((place >= low) & (place < low + size)).unbind(dim=1)  # each (b, side)
    inside = (rows[:, :, None] & columns[:, None, :])[:, None].expand_as(x)
    return inside.to(x), torch.where(inside, mean_gray(x), x)


def unexplained(model: FERVT, x: Tensor, heat: Tensor, target: Tensor, rectangles: int = 5) -> Tensor:
    """Captum's infidelity (Yeh et al. 2019) as a share, `(n,)`: 0 is perfect, 1 no better than an empty map.

    A rectangle turns gray, and the heat inside it predicts how far the logit drops, up to one factor per face. The
    mean squared error is divided by the mean squared drop. heat: `(n, h, w)`, of both signs.
    """
    shares = heat[:, None].expand_as(x) / 3  # the channels of a gray face are alike
    return (_missed(model, x, shares, target, rectangles) / _fall(model, x, target, rectangles)).double()


def _missed(model: FERVT, x: Tensor, shares: Tensor, target: Tensor, rectangles: int, scaled: bool = True) -> Tensor:
    """Mean squared error, `(n,)`; the rectangles are the same in every call."""
    at_once = len(x) * min(max(1, 4 * AT_ONCE // len(x)), rectangles)
    how = {"target": target, "n_perturb_samples": rectangles, "max_examples_per_batch": at_once, "normalize": scaled}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return infidelity(model, gray_rectangles, x, shares, **how).clamp(min=1e-12)


@lru_cache(maxsize=1)  # every method needs the same one
def _fall(model: FERVT, x: Tensor, target: Tensor, rectangles: int) -> Tensor:
    """Mean squared drop of the logit, `(n,)`: the error of an empty map."""
    return _missed(model, x, torch.zeros_like(x), target, rectangles, scaled=False)


def unsteady(model: FERVT, x: Tensor, method: Method, target: Tensor, radius: float = 0.02, copies: int = 1) -> Tensor:
    """Captum's sensitivity (Yeh et al. 2019), `(n,)`: the largest relative change of a map under faint noise.

    radius: of the noise in each pixel; pixels of a face are between 0 and 1.
    """
    found = []

    def explain_again(faces: Tensor | tuple[Tensor], target: Tensor) -> tuple[Tensor]:
        with torch.enable_grad():  # Captum turns gradients off, passes a tensor or a tuple, and wants a tuple back
            return (method(model, faces if isinstance(faces, Tensor) else faces[0], target),)

    for some, classes in zip(x.split(AT_ONCE), target.split(AT_ONCE), strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            how = {"perturb_radius": radius, "n_perturb_samples": copies, "target": classes}
            found.append(sensitivity_max(explain_again, some, **how))
    return torch.cat(found).double()


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of two stacks of maps `(n, h, w)`, map by map, `(n,)`; 0 where a map is flat."""
    a, b = (maps.flatten(1) - maps.flatten(1).mean(dim=1, keepdim=True) for maps in (a, b))
    return torch.cosine_similarity(a, b).double()


def redrawn(model: FERVT) -> dict[str, FERVT]:
    """The model with a freshly initialized head, and one with all weights fresh (Adebayo et al. 2018)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh, head = fervt_compact(), copy.deepcopy(model)
        head.transformer.head.reset_parameters()
    return {"head anew": head.eval().requires_grad_(False), "all anew": fresh.eval().requires_grad_(False)}


# --- the record ---------------------------------------------------------------------------------------------------


def heats(method: Method, model: FERVT, x: Tensor, target: Tensor) -> Tensor:
    """The method's maps for any number of faces, `(n, h, w)`."""
    return torch.cat([method(model, *some) for some in zip(x.split(AT_ONCE), target.split(AT_ONCE), strict=True)])


def random_numbers(model: FERVT, x: Tensor, target: Tensor) -> Tensor:
    """Meaningless heat, the same in every call: the score of pure chance."""
    return torch.rand(len(x), *x.shape[2:], generator=torch.Generator().manual_seed(0))


def scores(
    model: FERVT, method: Method, x: Tensor, target: Tensor, units: Tensor, masks: Tensor, drops: Tensor
) -> dict[str, Tensor]:
    """All scores of one method: a number for each face or, in "follows the unit", for each action unit.

    units: `(n, k)` bool. masks: `(n, k, h, w)` bool. drops: `(n, k)`, from `unit_drops`.
    """
    raw, truth, found = heats(method, model, x, target), masks.any(dim=1), {}
    for blur in (0.0, 1.0, 2.0, 4.0):
        spots = speaks_for(raw, blur)
        for name, score in {"pointing": explain.pointing_game, "mass": explain.mass_inside}.items():
            values = [score(spot, inside) for spot, inside in zip(spots, truth, strict=True)]
            found[f"{name}, blur {blur:g}"] = torch.tensor(values).double()
    spots = speaks_for(raw)
    inside = unit_heat(spots, masks)
    for name, heat in {"sum": inside, "per pixel": inside / masks.double().mean(dim=(2, 3)).clamp(min=1e-12)}.items():
        found[f"picks the unit, {name}"] = picks_the_unit(heat, drops, units)
        found[f"pairs in order, {name}"] = pairs_in_order(heat, drops, units)
    found["follows the unit"] = follows_the_unit(inside, drops, units)
    found |= curve_heights(model, x, spots, target)
    found["unexplained"] = unexplained(model, x, raw, target)
    some = x[:FEWER], target[:FEWER]
    found["unsteady"] = unsteady(model, some[0], method, some[1])
    for name, other in redrawn(model).items():
        found[name] = correlation(spots[:FEWER], speaks_for(heats(method, other, *some)))
    return found


def measure(model: FERVT, count: int = FACES) -> dict:
    """Mean and standard error over faces of every score of every method, and of every action unit's logit drop."""
    chosen, x, target = explained_faces(model, count)
    drops = unit_drops(model, chosen, x, target)
    drawn = load("drawn", "test", count=int(chosen.max()) + 1)
    units, masks = drawn.units[chosen], drawn.masks[chosen]
    facts = {"faces": len(x), "area": _summary(masks.any(dim=1).double().mean(dim=(1, 2))), "methods": {}}
    facts["units"] = {
        unit: {"faces": int(on.sum())} | _summary(worth[on])
        for unit, on, worth in zip(ACTION_UNITS, units.T, drops.T, strict=True)
    }
    for name, method in (METHODS | {"random numbers": random_numbers}).items():
        found = scores(model, method, x, target, units, masks, drops)
        facts["methods"][name] = {key: _summary(values) for key, values in found.items()}
        print(f"measured: {name}")
    return facts


def _summary(values: Tensor) -> dict[str, float]:
    error = values.double().std() / len(values) ** 0.5
    return {"mean": round(float(values.double().mean()), 4), "error": round(float(error), 4)}


def recorded(score: str) -> pd.DataFrame:
    """One score from data/results/protocol-attribution.json: a row per method, a column per model."""
    models = read_record(RECORD)["models"]
    return pd.DataFrame(
        {f"model {m['seed']}": {name: found[score]["mean"] for name, found in m["methods"].items()} for m in models}
    )


def show_recorded(*scores: str, alt: str) -> None:
    """Show recorded scores, one panel per score: a bar for the mean over the models, a marker for each model."""
    figure, axes = plt.subplots(1, len(scores), figsize=(5.6 + 2.6 * len(scores), 4.6), sharey=True, squeeze=False)
    for axis, score in zip(axes[0], scores, strict=True):
        found = recorded(score)[::-1]
        is_control = found.index.str.contains("control|random")
        axis.barh(found.index, found.mean(axis=1), color=np.where(is_control, "0.75", "#9CCBEA"))
        for model, mark in zip(found, "o^x", strict=True):
            axis.plot(found[model], found.index, mark, color="#003E61", markersize=5, label=model)
        axis.set_title(f"{score} ({GOOD[score]} is good)" if score in GOOD else score)
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.supxlabel("bars: mean of the models; gray: never asks the model", fontsize=10)
    plots.show(alt)


def exact_shapley(model: FERVT, x: Tensor, target: Tensor) -> Tensor:
    """Shapley values of the 16 regions of one face `(1, 3, 48, 48)`, from all 65,536 sets of regions, `(16,)`."""
    n, sets = GRID**2, torch.arange(2**GRID**2)
    members = (sets[:, None] >> torch.arange(n) & 1).bool()  # (65536, 16)
    where = REGIONS[0, 0].long()  # (48, 48), the region of each pixel
    shown = (torch.where(some[:, where][:, None], x, mean_gray(x)) for some in members.split(8 * AT_ONCE))  # in batches
    value = torch.cat([logits_of(model, faces, target.expand(len(faces))) for faces in shown]).double()
    sizes, found = members.sum(dim=1), torch.zeros(n, dtype=torch.float64)
    weights = torch.tensor([1 / (n * math.comb(n - 1, k)) for k in range(n)], dtype=torch.float64)  # after k others
    for region in range(n):
        joined = members[:, region]
        found[region] = (weights[sizes[joined] - 1] * (value[joined] - value[sets[joined] - 2**region])).sum()
    return found


def explained_model(seed: int, runs: Path) -> FERVT:
    """The shipped drawn-faces model for seed 0; for any other seed, train one now."""
    model = train(replace(RECIPE, seed=seed), runs / str(seed)) if seed else fervt_compact(weights="drawn")
    return model.eval().requires_grad_(False)


def measure_all(runs: Path) -> dict:
    """All scores on three models, 200 faces each. Trains two of them first; training and scoring can both resume."""
    models = {seed: explained_model(seed, runs) for seed in SEEDS}
    for seed, model in models.items():
        if not (part := runs / f"{seed}.json").exists():
            write_json(part, {"seed": seed} | measure(model))
    row, x, target = (part[:1] for part in explained_faces(models[0], FACES))
    facts = {"exact Shapley values": {"row": int(row), "values": exact_shapley(models[0], x, target).tolist()}}
    return facts | {"models": [read_json(runs / f"{seed}.json") for seed in SEEDS]}
