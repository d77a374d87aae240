"""What the learner has built: her passed exercises (`yours`), and her models in `my_models.py`
(`keep`, `mine`).

`my_models.py` lies beside the notebooks and holds the source of each model together with all that
it uses, so that it can be read, imported and taken along. The weights lie in the folder of the
runs.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import json
import linecache
import os
import re
import symtable
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from course_utils.base.errors import CourseError
from course_utils.base.files import atomic_path, locked, runs_root, save_tensors
from course_utils.data.dataset import Dataset
from course_utils.exercises.core import passed_answer, solution_of

FILE_NAME = "my_models.py"
HEADER = '"""The models that I built in the course, as `keep` wrote them."""'
IMPORTS = "from course_utils.exercises.core import solution_of"
INDENT = " " * 4
LAMBDA = "<lambda>"
SECTION = re.compile(r"^# ---- (\w+) ----$", re.MULTILINE)
PLAIN = (bool, int, float, str, tuple, type(None))  # constants whose repr is their source


def yours(*exercise_ids: str) -> Any:
    """Returns the answers to exercises that you passed in this session, and the reference solution
    for each other one; prints which is which.

    Args:
        exercise_ids: such as "04.loss", "04.reparameterise".

    Returns:
        one answer for one id, else a tuple in the order of the ids.

    Raises:
        CourseError: there is no such exercise.
    """
    own = {name: passed_answer(name) for name in exercise_ids}
    answers = tuple(solution_of(name) if answer is None else answer for name, answer in own.items())
    for words, names in (
        ("yours", [name for name, answer in own.items() if answer is not None]),
        ("reference solution, not passed yet", [n for n, answer in own.items() if answer is None]),
    ):
        if names:
            print(f"{words}: {', '.join(names)}")
    return answers[0] if len(answers) == 1 else answers


def keep(name: str, model: Any, dataset: Dataset, *arguments: Any) -> None:
    """Writes a model's source, with every function, class and constant of the notebook that it
    uses, to `my_models.py`, and its weights beside the runs. What was kept under this name before
    is replaced.

    Args:
        name: what `mine` will find it by, such as "vae".
        model: an instance of a class (`nn.Module`) that was written in the notebook.
        dataset: what it was trained on.
        arguments: what the class was called with: numbers, texts and tuples of them.

    Raises:
        CourseError: the source cannot be found, or it uses something that has no source, such as a
            tensor of the notebook; nothing was written.
    """
    bad = [argument for argument in arguments if not _is_plain(argument)]
    if bad:
        raise CourseError(
            f"keep: expected numbers, texts or tuples after the dataset, got {bad[0]!r}; with them"
            f" {type(model).__name__} is built again."
        )
    section = _section(name, type(model))
    path = _file()
    with locked(path, "notebook", wait_seconds=10):
        sections = _sections(path) | {name: section}
        text = "\n\n\n".join([f"{HEADER}\n\n{IMPORTS}", *sections.values()])
        with atomic_path(path) as unfinished:
            unfinished.write_text(text + "\n", encoding="utf-8")
        built_with = {"arguments": json.dumps(arguments)}
        save_tensors(_weights(name, dataset), model.state_dict(), built_with)
    print(f"Kept as {name!r} in {path.name}.")


def mine(name: str, dataset: Dataset) -> Any:
    """Returns the model that was kept under this name after a training on this dataset, in
    evaluation mode on the CPU; None, with a printed line, where none was kept.

    Raises:
        CourseError: `my_models.py` cannot be imported, or the weights do not fit the class.
    """
    path, weights = _file(), _weights(name, dataset)
    if name not in _sections(path) or not weights.exists():
        print(f"You have kept no model {name!r} for {dataset.name} yet.")
        return None
    from safetensors import safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(weights, "pt") as file:
            arguments = json.loads(file.metadata()["arguments"])
        module = module_of(path.read_text(encoding="utf-8"), str(path))
        model = getattr(module, f"build_{name}")(*map(_as_tuple, arguments))
        model.load_state_dict(load_file(weights))
    except Exception as error:
        raise CourseError(
            f"{path}: the model {name!r} cannot be built again ({type(error).__name__}: {error});"
            " run the cells that train and keep it once more."
        ) from error
    return model.eval()


def _section(name: str, cls: type) -> str:
    """Returns the part of `my_models.py` that holds a class: a function that builds it, in which
    all that it uses is defined, so that models do not get in each other's way.
    """
    imports, pieces = _sources(cls)
    body = "\n\n".join(part for part in ("\n".join(imports), *pieces) if part)
    return (
        f"# ---- {name} ----\n"
        f"def build_{name}(*arguments):\n"
        f"{textwrap.indent(body, INDENT)}\n\n"
        f"{INDENT}return {cls.__name__}(*arguments)"
    )


def _file() -> Path:
    """Returns where the learner's models are kept: `COURSE_MY_MODELS`, else `my_models.py` in the
    folder of the notebook.
    """
    return Path(os.environ.get("COURSE_MY_MODELS") or FILE_NAME).expanduser().absolute()


def _weights(name: str, dataset: Dataset) -> Path:
    return runs_root() / "mine" / f"{name}-{dataset.key.replace(':', '-')}.safetensors"


def _as_tuple(value: Any) -> Any:
    """Returns JSON's lists as the tuples that they were."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _sections(path: Path) -> dict[str, str]:
    """Returns the parts of `my_models.py` by name, in the order of the file."""
    if not path.exists():
        return {}
    _, *parts = SECTION.split(path.read_text(encoding="utf-8"))
    texts = zip(parts[::2], parts[1::2], strict=True)
    return {name: f"# ---- {name} ----{text.rstrip()}" for name, text in texts}


def module_of(source: str, name: str) -> ModuleType:
    """Returns Python source as a module, compiled anew and run: her own file, on her machine.

    Python would recognise a compiled module by the second in which its file was written and by its
    length, and take an older one for a model that is kept twice within a second.

    Args:
        source: the text of the file.
        name: the file's name or path, which tracebacks show with its lines.
    """
    module = ModuleType(Path(name).stem)
    module.__file__ = name
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), vars(module))  # noqa: S102
    return module


def _sources(cls: type) -> tuple[list[str], list[str]]:
    """Returns the import lines and the definitions that a class of the notebook needs, each
    definition after those that it uses.
    """
    namespace = vars(sys.modules[cls.__module__])
    imports: set[str] = set()
    pieces: dict[str, str] = {}

    def collect(name: str, value: Any) -> None:
        source = _definition(name, value, namespace)
        pieces[name] = ""  # a function that calls itself is not collected twice
        for used in _used_names(source):
            if used in pieces or used not in namespace or used == name:
                continue
            line = _import_line(used, namespace[used], namespace)
            if line is None:
                collect(used, namespace[used])
            else:
                imports.add(line)
        pieces[name] = pieces.pop(name) + source

    collect(cls.__name__, cls)
    return sorted(imports, key=lambda line: ("import " not in line, line)), [*pieces.values()]


def _import_line(name: str, value: Any, namespace: dict[str, Any]) -> str | None:
    """Returns the line that makes a global name of the notebook known elsewhere; None for what was
    defined in the notebook itself, whose source has to be copied.
    """
    reference = _reference_of(value)
    if reference is not None:
        return f'{name} = solution_of("{reference}")  # not passed yet when this was kept'
    if isinstance(value, ModuleType):
        return f"import {value.__name__} as {name}"
    if isinstance(value, type) or callable(value):
        home = getattr(value, "__module__", None)
        if home == namespace["__name__"]:
            return None
        own = getattr(value, "__qualname__", getattr(value, "__name__", ""))
        if home is not None and own.isidentifier():
            return f"from {home} import {own}" + (f" as {name}" if own != name else "")
    if _is_plain(value):
        return f"{name} = {value!r}"
    raise CourseError(
        f"keep: expected the model to use functions, classes, modules and numbers, but it uses"
        f" `{name}`, a {type(value).__name__} of this notebook; make it an argument or an attribute"
        " of the model."
    )


def _reference_of(value: Any) -> str | None:
    """Returns the exercise whose reference solution this is."""
    home = getattr(value, "__module__", None) or ""
    match = re.fullmatch(r"course_utils\.exercises\.(nb\d\d)", home)
    if match is None:
        return None
    exercises = importlib.import_module(home).EXERCISES
    return next((exercise.id for exercise in exercises if exercise.solution is value), None)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN)


def _definition(name: str, value: Any, namespace: dict[str, Any]) -> str:
    """Returns the source of a function or class of the notebook, which is called `name` there.

    `inspect.getsource` finds no class of a notebook before Python 3.13, so a class is looked up in
    the cell that holds its methods.
    """
    if not isinstance(value, type):
        source = _function_source(name, value)
        alias = "" if value.__name__ in (name, LAMBDA) else f"\n\n\n{name} = {value.__name__}"
        return source + alias
    for code in _codes(value):
        lines = linecache.getlines(code.co_filename, namespace)
        for node in ast.walk(ast.parse("".join(lines))):
            if isinstance(node, ast.ClassDef) and node.name == value.__name__:
                first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
                return textwrap.dedent("".join(lines[first - 1 : node.end_lineno])).rstrip()
    raise _no_source(value.__name__)


def _function_source(name: str, function: Any) -> str:
    try:
        source = textwrap.dedent(inspect.getsource(function)).rstrip()
    except (OSError, TypeError) as error:
        raise _no_source(name) from error
    if function.__name__ == LAMBDA and not source.startswith(f"{name} = "):
        raise CourseError(
            f"keep: expected {name} to be written with def, got a lambda; rewrite it."
        )
    return source


def _codes(cls: type) -> Iterator[Any]:
    """Yields the code objects of a class's own methods."""
    for member in vars(cls).values():
        code = getattr(inspect.unwrap(member), "__code__", None) if callable(member) else None
        if code is not None:
            yield code


def _no_source(name: str) -> CourseError:
    return CourseError(
        f"keep: expected {name} to be defined in a cell of this notebook, but its source cannot be"
        " found; run that cell again."
    )


def _used_names(source: str) -> list[str]:
    """Returns the names that a definition reads from outside itself and that are no builtins, in
    order; arguments and other local names are none of them, whatever else is called the same.
    """
    outside: set[str] = set()
    tables = [symtable.symtable(source, "notebook", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        found = [name for name in table.get_symbols() if name.is_global() and name.is_referenced()]
        outside |= {symbol.get_name() for symbol in found}
    names = [node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    return [
        name for name in dict.fromkeys(names) if name in outside and not hasattr(builtins, name)
    ]
