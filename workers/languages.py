"""The agent `languages`: how many lines of which language are tracked."""

from __future__ import annotations

import os
import re
from collections import Counter

from orchestrator import Agent
from workers.facts import Languages
from workers.tree import TrackedFile, Tree, lines_in

languages = Agent("languages", capabilities=["source-code"], concurrency=1)

OTHER = "Other"

_EXTENSIONS = {
    "Ada": "adb ads",
    "Assembly": "asm s",
    "Batch": "bat cmd",
    "C": "c h",
    "C#": "cs",
    "C++": "cc cpp cxx hh hpp hxx",
    "CMake": "cmake",
    "CSS": "css less sass scss",
    "CSV": "csv tsv",
    "Clojure": "clj cljc cljs edn",
    "Common Lisp": "lisp",
    "Dart": "dart",
    "Elixir": "ex exs",
    "Elm": "elm",
    "Emacs Lisp": "el",
    "Erlang": "erl hrl",
    "F#": "fs fsx",
    "Fortran": "f f90 f95",
    "Go": "go",
    "GraphQL": "graphql gql",
    "Groovy": "gradle groovy",
    "HCL": "hcl tf tfvars",
    "HTML": "htm html xhtml",
    "Haskell": "hs lhs",
    "INI": "cfg conf ini",
    "JSON": "json json5 jsonl",
    "Java": "java",
    "JavaScript": "cjs js jsx mjs",
    "Julia": "jl",
    "Jupyter Notebook": "ipynb",
    "Kotlin": "kt kts",
    "Lua": "lua",
    "Makefile": "mk",
    "Markdown": "markdown md",
    "Nim": "nim",
    "Nix": "nix",
    "OCaml": "ml mli",
    "Objective-C": "m mm",
    "PHP": "php",
    "Pascal": "pas",
    "Perl": "pl pm",
    "PowerShell": "ps1 psm1",
    "Protocol Buffers": "proto",
    "Python": "py pyi pyw",
    "R": "r",
    "Ruby": "rb",
    "Rust": "rs",
    "SQL": "sql",
    "SVG": "svg",
    "Scala": "sc scala",
    "Scheme": "scm",
    "Shell": "bash fish ksh sh zsh",
    "Svelte": "svelte",
    "Swift": "swift",
    "TOML": "toml",
    "TeX": "sty tex",
    "Text": "txt",
    "TypeScript": "cts mts ts tsx",
    "VHDL": "vhd vhdl",
    "Verilog": "sv v",
    "Vim Script": "vim",
    "Vue": "vue",
    "XML": "xml xsd xsl",
    "YAML": "yaml yml",
    "Zig": "zig",
    "reStructuredText": "rst",
}
_NAMES = {
    "CMake": "CMakeLists.txt",
    "Dockerfile": "Containerfile Dockerfile",
    "Go": "go.mod go.sum",
    "Groovy": "Jenkinsfile",
    "INI": ".editorconfig .gitconfig .gitmodules",
    "Makefile": "GNUmakefile Makefile makefile",
    "Python": "SConscript SConstruct",
    "Ruby": "Gemfile Rakefile Vagrantfile",
    "Shell": ".bash_profile .bashrc .profile .zshrc",
    "TOML": "Cargo.lock Pipfile",
    "Text": "AUTHORS COPYING LICENSE NOTICE README",
}
_INTERPRETERS = {
    "JavaScript": "node",
    "Lua": "lua",
    "PHP": "php",
    "Perl": "perl",
    "Python": "python",
    "R": "rscript",
    "Ruby": "ruby",
    "Shell": "bash dash ksh sh zsh",
}


def _by_word(table: dict[str, str]) -> dict[str, str]:
    return {word: language for language, words in table.items() for word in words.split()}


_BY_EXTENSION = _by_word(_EXTENSIONS)
_BY_NAME = _by_word(_NAMES)
_BY_INTERPRETER = _by_word(_INTERPRETERS)
_SHEBANG = re.compile(rb"#![ \t]*(?:\S*/)?(?:env[ \t]+(?:-\S+[ \t]+)*)?([A-Za-z]+)")


@languages.task
def count(root: str) -> Languages:
    """Count the tracked files, and the lines of those that hold text on disk, by language.

    Args:
        root: as `repository.open` returned it.
    """
    tree = Tree(root)
    lines: Counter[str] = Counter()
    text_files = 0
    for file in tree.files:
        language = None
        for block in tree.blocks(file):
            language = language or language_of(file, block)
            lines[language] += lines_in(block)
        text_files += language is not None
    return Languages(files=len(tree.files), text_files=text_files, lines=dict(lines.most_common()))


def language_of(file: TrackedFile, start: bytes) -> str:
    """By well-known name, then extension, then the interpreter in the first line; `Other` if nothing fits."""
    name = os.path.basename(file.path)
    extension = os.path.splitext(name)[1][1:].lower()
    known = _BY_NAME.get(name) or _BY_EXTENSION.get(extension)
    if known or extension:
        return known or OTHER
    shebang = _SHEBANG.match(start)
    return _BY_INTERPRETER.get(shebang[1].decode().lower(), OTHER) if shebang else OTHER
