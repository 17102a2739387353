"""The distribution as its users get it: wheel, sdist and editable install, each in a fresh venv.

Nothing is downloaded: the dependencies are those of the Python that runs the tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = ("zoo", "pretrained", "pyproject.toml", "setup.py", "README.md", "LICENSE")

pytestmark = pytest.mark.slow

LOOK = """
import importlib.resources, json, zoo, zoo.models
files = importlib.resources.files("zoo.pretrained").iterdir()
print(json.dumps({
    "version": zoo.__version__,
    "place": zoo.__file__,
    "pretrained": {f.name: f.read_text() for f in files if f.name.startswith("toy.")},
}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """The command's output; where it fails, all it wrote is in the failure."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what the distribution is built from, with a pretrained file of each kind."""
    copy = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.vocab", "*.model")
    for name in SOURCES:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, copy / name, ignore=ignore)
        else:
            shutil.copy(CHECKOUT / name, copy)
    for suffix in ("toml", "safetensors", "vocab", "model"):
        (copy / "pretrained" / f"toy.{suffix}").write_text(f"a {suffix} file")
    return copy


@pytest.fixture(scope="module")
def built(checkout):
    """{"wheel": path, "sdist": path, "editable": the copied checkout}"""
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist", cwd=checkout)
    (wheel,), (sdist,) = checkout.glob("dist/*.whl"), checkout.glob("dist/*.tar.gz")
    return {"wheel": wheel, "sdist": sdist, "editable": checkout}


def source_files(checkout: Path) -> set[str]:
    """Every file of the two packages, by its path in an installed distribution."""
    zoo = {f.relative_to(checkout).as_posix() for f in checkout.glob("zoo/**/*.py")}
    pretrained = {f"zoo/pretrained/{f.name}" for f in checkout.glob("pretrained/*.*")}
    return zoo | pretrained | {"zoo/py.typed"}


def test_the_wheel_holds_every_module_and_weight_and_nothing_else(checkout, built):
    names = {n for n in zipfile.ZipFile(built["wheel"]).namelist() if ".dist-info/" not in n}
    assert names == source_files(checkout)


def test_the_sdist_holds_every_module_and_weight(checkout, built):
    names = {name.partition("/")[2] for name in tarfile.open(built["sdist"]).getnames()}
    wanted = {name.replace("zoo/pretrained/", "pretrained/") for name in source_files(checkout)}
    assert wanted | {"LICENSE", "README.md", "pyproject.toml", "setup.py"} <= names


@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
def test_an_install_imports_reads_its_weights_and_has_the_command(kind, built, tmp_path):
    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    scheme = {"base": str(home), "platbase": str(home)}
    ours = Path(sysconfig.get_path("purelib", vars=scheme))
    # A path in a .pth file comes after the venv's own packages, and the .pth files that lie there
    # (such as that of an editable install of this very checkout) are not read.
    (ours / "dependencies.pth").write_text(sysconfig.get_path("purelib"))

    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps"]
    flags = ["--ignore-installed", "--no-build-isolation", *(["-e"] if kind == "editable" else [])]
    run(*pip, *flags, built[kind], cwd=tmp_path)

    seen = json.loads(run(python, "-c", LOOK, cwd=tmp_path))
    assert Path(seen["place"]).is_relative_to(built[kind] if kind == "editable" else ours)
    assert seen["pretrained"] == {
        f"toy.{suffix}": f"a {suffix} file" for suffix in ("toml", "safetensors", "vocab", "model")
    }
    assert seen["version"] in built["wheel"].name
    assert "list" in run(home / "bin" / "zoo", "--help", cwd=tmp_path)
