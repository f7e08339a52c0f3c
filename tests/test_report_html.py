"""The page in headless Chromium: nothing in its console, and what it does when it is used."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import run_cli
from tests.study_folder import write_study

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
     if (path := shutil.which(name))), None,
)  # fmt: skip
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    "--v=0", "--virtual-time-budget=2000",
)  # fmt: skip
# What a reader does, and what is then on the page.
USE = """
<script>
const answers = {};
const table = document.querySelector("#verdicts table");
const column = (n) => [...table.tBodies[0].rows].map((row) => row.cells[n].textContent);
const heads = [...table.tHead.rows[0].cells];
const difference = heads.findIndex((head) => head.textContent === "difference");
heads[difference].firstElementChild.click();
answers.rising = column(difference);
answers.sorted = heads[difference].getAttribute("aria-sort");
heads[difference].firstElementChild.click();
answers.falling = column(difference);
const box = document.querySelector("#what-was-run .filter, .filter");
box.value = "vae";
box.dispatchEvent(new Event("input"));
answers.filtered = [...box.nextElementSibling.querySelectorAll("tbody tr")]
  .filter((row) => !row.hidden)
  .every((row) => row.textContent.includes("vae"));
const chart = document.querySelector("[data-chart]");
const lines = () => chart.querySelectorAll(".panel polyline").length;
answers.lines = lines();
chart.querySelectorAll(".legend button")[1].click();
answers.linesWithoutOne = lines();
answers.pressed = chart.querySelectorAll(".legend button")[1].getAttribute("aria-pressed");
const panel = () => chart.querySelector(".panel svg");
panel().dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
answers.said = chart.querySelector("[aria-live]").textContent;
const choices = [...chart.querySelectorAll(".choice button")];
choices[1].click();
answers.linesOfDifferences = lines();
choices[3].click();
const ticks = [...panel().querySelectorAll("text[text-anchor=middle]")];
answers.axis = ticks.map((text) => text.textContent);
answers.wider = document.documentElement.scrollWidth > document.documentElement.clientWidth;
document.body.dataset.answers = JSON.stringify(answers);
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    write_study(root, {"random": 0.5, "vae": 0.3, "kmeans": 0.55, "<b>&": 0.5}, seeds=2)
    finished = run_cli("report", "--experiment", "made", "--runs_dir", str(root / "runs"))
    assert finished.status == 0, finished.err
    return root / "runs/made/report/report.html"


def browse(page: Path, tmp_path: Path, *flags: str) -> tuple[str, list[str]]:
    """The page's elements after its scripts ran, and what its console says."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags,
               "--dump-dom", page.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize(
    "flags",
    [
        ("--window-size=1280,900",),
        ("--window-size=500,900", "--blink-settings=preferredColorScheme=0"),
    ],
    ids=["light and wide", "dark and narrow"],
)
def test_console_is_silent(page: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    dom, console = browse(page, tmp_path, *flags)
    assert console == []
    assert dom.count('class="panel"') == 2 + 4  # a panel a query, and a panel a pool
    assert dom.count("<polyline") == 2 * (2 * 4)


def test_a_broken_page_would_be_noticed(page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(
        page.read_text(encoding="utf-8").replace("class Chart {", "missing();\nclass Chart {")
    )
    assert len(browse(broken, tmp_path)[1]) == 1


def test_tables_sort_and_curves_answer(page: Path, tmp_path: Path) -> None:
    used = tmp_path / "used.html"
    used.write_text(page.read_text(encoding="utf-8").replace("</body>", USE + "</body>"))
    dom, console = browse(used, tmp_path, "--window-size=500,900")
    assert console == []
    found = re.search(r'data-answers="([^"]*)"', dom)
    assert found
    answers = json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&amp;", "&"))
    rising = [float(text.replace("\N{MINUS SIGN}", "-")) for text in answers["rising"]]
    assert rising == sorted(rising)
    assert answers["sorted"] == "ascending"
    assert answers["falling"] == answers["rising"][::-1]
    assert answers["filtered"]
    assert (answers["lines"], answers["linesWithoutOne"], answers["pressed"]) == (8, 6, "false")
    assert answers["linesOfDifferences"] == 2 * 2  # the random pool differs from itself by nothing
    assert re.fullmatch(r"random, 20 images: (\S+ \d+\.\d(, )?){3}", answers["said"])
    assert answers["axis"][0] == "120"
    assert not answers["wider"]  # no part but tables and figures scrolls sideways
