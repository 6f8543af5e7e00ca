"""Pages in a real browser: they open without complaint, ask nobody for anything, and fit a phone."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from xfeat.report.media import open_media
from xfeat.report.page import make_report, write_report
from xfeat.training.asked import Asked

NAMES = ("chromium", "google-chrome", "chromium-browser")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-default-apps",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=4000",
    "--dump-dom",
)
WIDTHS = (
    "<script>onload = () => parent.postMessage([innerWidth, document.documentElement.scrollWidth].join(), '*')</script>"
)
HEARD = "<script>onmessage = event => document.body.append(`[${event.data}]`)</script>"


class Seen(NamedTuple):
    """What a browser made of a page: its document, what it complained of, and the addresses it asked for."""

    document: str
    complaints: list[str]
    asked: set[str]


class Browser:
    """A headless browser on a file."""

    def __init__(self, program: str, page: Path, folder: Path) -> None:
        folder.mkdir()
        self._log = folder / "net.json"
        words = [program, *OPTIONS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={self._log}"]
        words += ["--host-resolver-rules=MAP * ~NOTFOUND", page.as_uri()]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, encoding="utf-8")

    def read(self) -> Seen:
        document, errors = self._process.communicate(timeout=60)
        events = json.loads(self._log.read_text(encoding="utf-8"))["events"]
        starts = [event["params"] for event in events if "url" in event.get("params", {})]
        # What the browser asks for on its own account has no initiator.
        asked = {one["url"] for one in starts if one.get("initiator", "not an origin") != "not an origin"}
        return Seen(document, [line for line in errors.splitlines() if ":CONSOLE:" in line], asked)


@pytest.fixture(scope="module")
def seen(paired: Path, manifests: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Seen]:
    """The page as it is; and, in frames, itself on a phone and with foreign content that it must not load."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser on PATH: none of {', '.join(NAMES)}")
    folder = tmp_path_factory.mktemp("browser")
    media = open_media([paired], manifests)
    write_report(folder / "page.html", make_report([paired], Asked("test"), torch.device("cpu"), media=media))
    text = (folder / "page.html").read_text(encoding="utf-8")
    policy = re.search(r"<meta http-equiv[^>]*>\n", text)
    assert policy
    image = "<img src='http://{}.invalid/a.png' alt=''>"
    phone = text.replace(policy.group(), "").replace("</main>", image.format("control") + WIDTHS + "</main>")
    (folder / "phone.html").write_text(phone, encoding="utf-8")
    hostile = text.replace("</main>", image.format("blocked") + WIDTHS + "</main>")
    (folder / "hostile.html").write_text(hostile, encoding="utf-8")
    frames = HEARD + "<iframe src=phone.html width=360 height=800></iframe><iframe src=hostile.html></iframe>"
    (folder / "frames.html").write_text(f"<body>{frames}</body>")
    browsers = [Browser(program, folder / f"{name}.html", folder / name) for name in ("page", "frames")]
    one, other = (browser.read() for browser in browsers)
    return one, other


def test_a_page_opens_and_asks_nobody(seen: tuple[Seen, Seen]) -> None:
    page, _ = seen
    assert page.complaints == []
    assert {one for one in page.asked if not one.startswith("data:")} == set()
    for piece in ("<table", "<audio controls", 'class="query', "<use href", 'id="examples"', "</html>"):
        assert piece in page.document


def test_what_is_foreign_would_be_noticed_and_is_not_loaded(seen: tuple[Seen, Seen]) -> None:
    _, frames = seen
    assert "http://control.invalid/a.png" in frames.asked  # without the policy
    assert not [one for one in frames.asked if "blocked" in one]
    refused = [line for line in frames.complaints if "Content Security Policy" in line]
    assert any("blocked.invalid" in line for line in refused)
    assert any("script" in line for line in refused)


def test_a_page_fits_a_phone(seen: tuple[Seen, Seen]) -> None:
    _, frames = seen
    (widths,) = re.findall(r"\[(\d+),(\d+)\]", frames.document)  # the other frame's script does not run
    inner, scrolled = map(int, widths)
    assert inner == 360
    assert scrolled <= inner
