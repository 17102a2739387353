"""The site: Sphinx with MyST. `make docs` builds it without a network, warnings as errors.

Notebooks are text (examples/notebooks/*.md) and are copied here. `ZOO_DOCS=execute` runs them and
keeps what they print in a cache; any other build shows what the cache has and runs none.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
sys.path.append(str(HERE))  # for `extensions`

import myst_nb.core.execute  # noqa: E402
from jupyter_cache import get_cache  # noqa: E402
from myst_nb.core.execute.cache import NotebookClientCache  # noqa: E402

import zoo  # noqa: E402

project = "zoo"
author = "the authors of zoo"
version = release = zoo.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "extensions.mathml",
    "extensions.docstrings",
]
exclude_patterns = ["_build", "_generated", "README.md"]

# Markdown
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Docstrings: single backticks are code, as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# Appearance
html_show_copyright = False
html_theme = "furo"
html_title = "zoo"
html_static_path = ["_static"]
html_css_files = ["zoo.css"]
html_show_sourcelink = False
html_copy_source = False
smartquotes_action = "q"  # two dashes begin a flag
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

# Notebooks
FULL = "ZOO_DOCS_FAST" not in os.environ
EXECUTE = os.environ.get("ZOO_DOCS") == "execute"
CACHES = CHECKOUT / "build" / "notebook-cache"
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = (
    7200 if FULL else 900
)  # seconds for a cell; three minutes do for a whole notebook
nb_execution_in_temp = True
nb_merge_streams = True


def copy_notebooks() -> None:
    """Brings the notebooks below the site's folder."""
    here = HERE / "notebooks"
    shutil.rmtree(here, ignore_errors=True)
    sources = sorted((CHECKOUT / "examples" / "notebooks").glob("*.md"))
    if sources:
        here.mkdir()
        for source in sources:
            shutil.copy2(source, here)


copy_notebooks()
full = FULL if EXECUTE else (CACHES / "full").is_dir()
nb_execution_cache_path = str(CACHES / ("full" if full else "fast"))


class FromCache(NotebookClientCache):
    """Shows what the cache has of a notebook, and runs none."""

    def start_client(self) -> None:
        cache = get_cache(self.nb_config.execution_cache_path)
        try:
            cache.match_cache_notebook(self.notebook)
        except KeyError:
            return
        super().start_client()


if not EXECUTE:
    myst_nb.core.execute.NotebookClientCache = FromCache


def setup(app: object) -> None:
    from pygments.lexers.special import TextLexer

    app.add_lexer("output", TextLexer)  # type: ignore[attr-defined]
    app.add_lexer("csv", TextLexer)  # type: ignore[attr-defined]
