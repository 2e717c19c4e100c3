"""A page whose worker answers without a network, served as a user would see it, and a browser to open it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from mobileone.serving.listen import listen
from mobileone.web.host import SiteServer

from .chromium import Chromium, running_chromium

STATIC = Path(str(files("mobileone.web"))) / "static"
PAGE_CSS = Path(str(files("mobileone.report"))) / "page.css"


def network(name: str, **fields: object) -> dict[str, object]:
    """An entry of site.json."""
    spec = {
        "height": 32,
        "width": 32,
        "channels": 3,
        "fit": "crop",
        "resize": [37, 37],
        "interpolation": "bilinear",
    }
    return {
        **{
            "id": name,
            "title": f"{name} network",
            "runtime": "engine",
            "precision": "int8",
            "file": f"{name}.bin",
        },
        **{
            "sha256": "0" * 64,
            "bytes": 1_063_754,
            "relaxed": None,
            "input": {**spec, "exif": True, "border": [0, 0, 0]},
        },
        **{"outputs": 7, "classes": None, "decision": None, "golden": [], "map": False, "licence": None},
        **{"source": "a test", **fields},
    }


@pytest.fixture(scope="session")
def mock_site(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`mock_site(network(…), …)`: a folder with the page as it is and a worker that only pretends."""

    def make(*networks: dict[str, object], **fields: object) -> Path:
        folder = tmp_path_factory.mktemp("site") / "site"
        shutil.copytree(STATIC, folder)
        shutil.copy(PAGE_CSS, folder)
        shutil.copy(Path(__file__).with_name("mock_worker.js"), folder / "worker.js")
        (folder / "service_worker.js").unlink(missing_ok=True)
        site = {"format": "mobileone.site/1", "made": "mobileone 0.1.0", "networks": list(networks)}
        site |= {"licences": [], "decoding": None, "litert": None, **fields}
        (folder / "site.json").write_text(json.dumps(site))
        return folder

    return make


@pytest.fixture(scope="session")
def served() -> Iterator[Callable[[Path], str]]:
    """`served(folder)`: its address, by the server of `mobileone web --serve`."""
    servers = []

    def serve(folder: Path) -> str:
        listener = listen("127.0.0.1", 0)
        server = SiteServer(listener, folder)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://localhost:{listener.getsockname()[1]}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One for a file's tests, with a made-up camera that is always allowed."""
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with running_chromium(tmp_path_factory.mktemp("profile"), *flags) as running:
        yield running
