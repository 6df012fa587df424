"""How Sphinx builds the site: ``nox -s docs``. Nothing is fetched, neither now nor by a reader."""

import actorstream

project = "actorstream"
author = "actorstream contributors"
copyright = author
version = release = actorstream.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
# A diagram is shown as it is written: drawing it would take a script from the network.
suppress_warnings = ["misc.highlighting_failure"]

# The anchors that GitHub makes of headings, so that a link leads to the same place here and there.
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"actorstream {release}"
html_show_copyright = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_numpy_docstring = False
# Docstrings write code between single backticks as well as between double ones.
default_role = "code"

add_module_names = False
# What other projects document, and the names of type variables and of aliases: no link to those.
nitpick_ignore_regex = [
    ("py:.*", r"(anyio|collections\.abc|contextlib)\..*|WouldBlock"),
    ("py:class", r"actorstream\.[\w.]+\.[A-Z]|(.*\.)?(EventIterator|TimeoutKind)"),
    # A generic alias that was made during the import remembers the file that the class is in.
    ("py:class", r"actorstream\._.*\.(AsyncStreamMessage|Port)"),
]
