"""A folder of several seeds: `seeds.toml` names the runs in it, and the one that is loaded."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from zoo.config import FileMistake
from zoo.storage.files import replacing

FILE = "seeds.toml"


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """What `seeds.toml` says."""

    folders: tuple[str, ...]
    """The run of each seed, a folder inside this one."""
    chosen: str = ""
    """The one that `zoo.load` takes; empty until all have ended."""
    why: str = ""
    """Why it is that one."""

    def save(self, folder: Path) -> None:
        """Writes the file, completely or not at all."""
        import tomli_w

        content = {**asdict(self), "folders": list(self.folders)}
        with replacing(folder / FILE) as temporary:
            temporary.write_text(tomli_w.dumps(content), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Seeds | None:
        """What the file in a folder says; None: there is none.

        Raises:
          FileNotFoundError: the file is broken.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
            return cls(
                folders=tuple(map(str, content["folders"])),
                chosen=str(content.get("chosen", "")),
                why=str(content.get("why", "")),
            )
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise FileMistake(
                f"{path} does not name the runs of a folder of seeds ({error}); load one of them, "
                f"such as {folder / 'seed_0'}"
            ) from error

    def taken(self, folder: Path) -> Path:
        """The folder of the run that is loaded.

        Raises:
          FileNotFoundError: not all of them have ended.
        """
        if not self.chosen:
            raise FileMistake(
                f"{folder} trains {len(self.folders)} seeds and has not ended, so none is chosen "
                "yet; the same command again resumes it"
            )
        return folder / self.chosen
