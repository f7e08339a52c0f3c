"""The direction of imports, names of files, and what the network is."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch

from active.classifier import Classifier
from pretext.backbone import ResNet18
from tests.conftest import ROOT

ROOMS = ("conf", "datamodules", "pretext", "active")
MAY_IMPORT = {
    "datamodules": {"datamodules"},
    "pretext": {"pretext", "datamodules", "conf"},
    "active": {"active", "pretext", "datamodules", "conf"},
    "conf": {"conf", "datamodules"},
}
ENTRIES = {"active/run.py", "active/report.py", "pretext/train.py"}
PURE = {
    "active/acquisition.py", "active/averages.py", "active/embedding.py", "active/overlap.py",
    "active/badge.py", "active/bayesian.py", "active/calibration.py",
    "active/classes.py", "active/columns.py",
    "active/efficiency.py", "active/estimate.py", "active/heads.py", "active/logistic.py",
    "active/penalized_loss.py", "active/quasi_newton.py",
    "active/pairing.py", "active/pool_report.py", "active/ranking.py", "active/verdict.py",
    "datamodules/color.py",
    "datamodules/coverage.py", "datamodules/distances.py", "datamodules/draws.py",
    "datamodules/initial.py", "datamodules/recolor.py", "datamodules/strong.py",
    "datamodules/transforms.py", "datamodules/typiclust.py", "datamodules/views.py",
    "pretext/losses.py", "pretext/monitors.py",
} | {
    str(file.relative_to(ROOT))
    for folder in ("datamodules/inits", "active/claims")
    for file in (ROOT / folder).glob("*.py")
}  # fmt: skip
TEXT = ("read_text", "write_text")
FILES = sorted(p.relative_to(ROOT) for room in ROOMS for p in (ROOT / room).rglob("*.py"))


def imported(file: Path) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(str(node.module))
    return names


@pytest.mark.parametrize("file", FILES, ids=str)
def test_text_files_have_an_encoding(file: Path) -> None:
    """The locale's own garbled the report, and gave code of a user's another digest."""
    for node in ast.walk(ast.parse((ROOT / file).read_bytes())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in TEXT:
            named = any(keyword.arg == "encoding" for keyword in node.keywords)
            assert named, f"{file}:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_point_one_way(file: Path) -> None:
    names = imported(file)
    rooms = {name.split(".")[0] for name in names} & set(ROOMS)
    assert rooms <= MAY_IMPORT[file.parts[0]]
    assert not any(name in {e[:-3].replace("/", ".") for e in ENTRIES} for name in names)
    packages = {name.split(".")[0] for name in names}
    if file.parts[0] != "conf":
        assert not packages & {"hydra", "omegaconf"}
    assert "lightning" not in packages  # its classes are not those of pytorch_lightning
    if str(file) in PURE:
        assert not packages & {"pytorch_lightning", "conf"}


def test_the_import_test_can_fail() -> None:
    assert "conf.launch" in imported(Path("active/run.py"))


def test_no_file_shadows_a_module() -> None:
    taken = set(sys.stdlib_module_names) | set(packages_distributions())
    own = {"active", "conf", "datamodules", "pretext", "tests"}
    files = [f for f in FILES if f.parts[0] in ("active", "pretext") and f.stem != "__init__"]
    assert [str(f) for f in files if f.stem in taken - own] == []


def test_top_level_is_as_agreed() -> None:
    agreed = {"pyproject.toml", "README.md", "LICENSE", "run.sh", "tests", *ROOMS}
    made = {"runs", "artifacts", "data"}
    names = {p.name for p in ROOT.iterdir() if not p.name.startswith(".")}
    assert {n for n in names if not n.endswith(".egg-info")} - made == agreed


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({"num_classes": 10, "channels": 3}, 11_498_442),
        ({"num_classes": 100, "channels": 3}, 11_510_052),
        ({"num_classes": 10, "channels": 1, "stem": 7}, 11_499_850),
        ({"num_classes": 200, "channels": 3, "projection": 512}, 11_796_744),
    ],
)
def test_parameter_counts_of_the_study(arguments: dict, parameters: int) -> None:
    classifier = Classifier(**arguments)
    assert sum(p.numel() for p in classifier.parameters()) == parameters


def test_spatial_sizes_of_the_study() -> None:
    shapes = {}
    for name, size, arguments in (
        ("cifar", 32, {}), ("mnist", 32, {"channels": 1, "stem": 7}),
        ("digits", 8, {"channels": 1, "width": 16, "max_pool": False}),
    ):  # fmt: skip
        net = ResNet18(**{"channels": 3, **arguments}).eval()
        x = net.stem(torch.zeros(1, net.stem[0].in_channels, size, size))
        sizes = [x.shape[-1]]
        for stage in net.stages:
            x = stage(x)
            sizes.append(x.shape[-1])
        shapes[name] = sizes
    assert shapes == {
        "cifar": [16, 16, 8, 4, 2], "mnist": [8, 8, 4, 2, 1], "digits": [8, 8, 4, 2, 1],
    }  # fmt: skip


def test_network_equals_torchvisions_resnet18() -> None:
    """With the same weights, our CIFAR network computes what torchvision's does."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    theirs, ours = resnet18(), ResNet18(3, 64, 7, True)
    theirs.fc = torch.nn.Identity()
    weights = list(ours.state_dict())
    renamed = dict(zip(weights, theirs.state_dict().values(), strict=False))
    ours.load_state_dict(renamed)
    x = torch.randn(2, 3, 64, 64)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-5)


def test_logits_are_float32_under_autocast() -> None:
    classifier = Classifier(3, 1, width=4).eval()
    with torch.autocast("cpu", torch.bfloat16):
        features, logits = classifier(torch.randn(2, 1, 32, 32))
    assert features.dtype == logits.dtype == torch.float32


def test_classifier_and_simclr_share_one_backbone() -> None:
    from active.classifier import Classifier
    from pretext.simclr import SimCLR
    from tests.test_ddp_losses import small_simclr

    classifier = Classifier(num_classes=10, channels=1, width=8, stem=3, max_pool=False)
    simclr: SimCLR = small_simclr()
    assert type(classifier.backbone) is type(simclr.backbone)
    shapes = [
        {name: tuple(value.shape) for name, value in module.backbone.state_dict().items()}
        for module in (classifier, simclr)
    ]
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) > 100
    simclr.backbone.load_state_dict(classifier.backbone.state_dict())
