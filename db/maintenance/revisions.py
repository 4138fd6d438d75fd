"""Reads the revision files of the program and of a product, and compares revisions.

Only a comparison of different revisions imports Alembic, which takes a second.
"""

import ast
import io
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from db.product import ProductData
from db.tables import SCHEMA

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

SCRIPTS: Final = Path(__file__).parent.parent / "migrations"  # env.py and the revision template
VERSIONS: Final = SCRIPTS / "versions"
MIGRATE_FIRST: Final = "run `latchkey migrate` first"
NO_TABLES: Final = f"the database has no tables yet: {MIGRATE_FIRST}"


class WrongSchema(Exception):
    """The database does not have the schema that this program requires.

    The message says what to do.
    """


@dataclass(frozen=True)
class Branch:
    """A folder of revisions that depend only on each other, with a version table of their own.

    `name` is the subject in messages.
    """

    name: str
    folder: Path
    version_table: str

    @cached_property
    def head(self) -> str | None:
        """Returns the newest revision, or None if there is none. Does not import Alembic.

        Raises WrongSchema if there are several.
        """
        return SCHEMA if self == OWN_BRANCH else _find_head(self)


OWN_BRANCH: Final = Branch("this program", VERSIONS, "alembic_version")


def branches_of(product: ProductData) -> tuple[Branch, ...]:
    """Returns the branches in the order in which they are applied."""
    if product.migrations is None:
        return (OWN_BRANCH,)
    return OWN_BRANCH, product_branch(product.migrations)


def product_branch(folder: Path) -> Branch:
    return Branch("the product", folder, "product_version")


def find_revision_problem(branch: Branch, found: tuple[str, ...]) -> str:
    """Returns why the revisions of a database are not those of the branch, or an empty string.

    `found` is the content of its version table.
    """
    head = branch.head
    if found == (() if head is None else (head,)):
        return ""
    if not found:
        return f"the database is older than {branch.name}: {MIGRATE_FIRST}"
    if unknown := [revision for revision in found if not is_known(branch, revision)]:
        # A file of the product may be missing without an upgrade, for example after a merge.
        file = "" if branch == OWN_BRANCH else f", or restore its file in {branch.folder}"
        return (
            f"the database is newer than {branch.name}, which does not know its revision "
            f"{unknown[0]} (needed: {head or 'none'}): start the release that has it{file}"
        )
    if len(found) > 1:
        return (
            f"the database has several revisions of {branch.name} at once ({', '.join(found)}; "
            f"needed: {head}): restore a backup"
        )
    return (
        f"the database is older than {branch.name} (revision {found[0]}; needed: {head}): "
        f"{MIGRATE_FIRST}"
    )


def is_known(branch: Branch, revision: str) -> bool:
    """Returns whether a revision file of the branch has this id."""
    from alembic.util import CommandError

    try:
        # Alembic accepts the first characters of an id, too.
        script = script_directory(branch).get_revision(revision)
    except CommandError:
        return False
    return script is not None and script.revision == revision


def script_directory(branch: Branch) -> "ScriptDirectory":
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(make_config(branch))


def make_config(branch: Branch) -> "Config":
    """Returns Alembic's configuration of a branch. All branches share one env.py."""
    from alembic.config import Config

    config = Config()
    # The default separator of the list is a space, which a path may contain.
    options = {
        "script_location": str(SCRIPTS),
        "version_locations": str(branch.folder),
        "path_separator": "newline",
    }
    for name, value in options.items():
        config.set_main_option(name, value.replace("%", "%%"))
    return config


def create_revision(branch: Branch, text: str) -> Path:
    """Writes an empty revision file with the next number, and returns its path.

    It follows the newest revision. Raises WrongSchema if the files of the branch cannot be used.
    """
    from alembic import command

    branch.folder.mkdir(exist_ok=True)
    require_single_head(branch)
    revisions = [file.revision for file in _read_revision_files(branch.folder)]
    numbers = [int(revision) for revision in revisions if revision.isdecimal()]
    number = f"{max(numbers, default=0) + 1:04}"
    config = make_config(branch)
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.stdout = io.StringIO()
    title = re.sub(r"[\"\\]", "", text)  # The docstring of the file contains it.
    command.revision(config, f"{title}.", rev_id=number, version_path=str(branch.folder))
    (path,) = branch.folder.glob(f"{number}_*.py")
    return path


def require_single_head(branch: Branch) -> None:
    """Raises WrongSchema if two files have one revision, or if the newest one is ambiguous.

    The newest one of the program must be SCHEMA.

    Alembic only warns of two files with one revision, and applies one of them.
    """
    _require_unique(branch)
    try:
        # Alembic warns of a problem before it raises an exception about it.
        with warnings.catch_warnings(action="ignore"):
            heads = sorted(script_directory(branch).get_heads())
    # Alembic imports the files, so any exception is possible.
    except Exception as error:
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
        raise WrongSchema(f"the migrations in {branch.folder} cannot be used: {problem}") from error
    if len(heads) > 1:
        raise WrongSchema(_describe_heads(branch, heads))
    if branch == OWN_BRANCH and heads != [SCHEMA]:
        raise WrongSchema(
            f"this program requires the revision {SCHEMA}, but the newest migration in "
            f"{branch.folder} is {heads[0] if heads else 'none'}: the checkout is incomplete"
        )


def _require_unique(branch: Branch) -> None:
    files = defaultdict(list)
    for file in _read_revision_files(branch.folder):
        files[file.revision].append(file.path)
    for revision, paths in sorted(files.items()):
        if len(paths) > 1:
            raise WrongSchema(
                f"two migrations have the revision {revision}: {paths[0]} and {paths[1]}; "
                "give one of them another revision"
            )


def _find_head(branch: Branch) -> str | None:
    files = list(_read_revision_files(branch.folder))
    followed = {name for file in files for name in file.down}
    heads = sorted({file.revision for file in files} - followed)
    if len(heads) > 1 or (files and not heads):
        raise WrongSchema(_describe_heads(branch, heads))
    return heads[0] if heads else None


def _describe_heads(branch: Branch, heads: list[str]) -> str:
    return (
        f"the migrations in {branch.folder} have {len(heads)} newest revisions "
        f"({', '.join(heads)}): let each revision have one successor"
    )


@dataclass(frozen=True, slots=True)
class RevisionFile:
    """A file with its revision, and the revisions that it follows."""

    path: Path
    revision: str
    down: tuple[str, ...]


def _read_revision_files(folder: Path) -> Iterator[RevisionFile]:
    """Yields the revision files of a folder by name, without running them. Raises WrongSchema."""
    for path in sorted(folder.glob("*.py")):
        if path.name == "__init__.py":
            continue
        try:
            values = _read_constants(path)
        except (OSError, SyntaxError, ValueError) as error:
            raise WrongSchema(f"the migration {path} cannot be read: {error}") from error
        revision, down = values.get("revision"), values.get("down_revision")
        if not isinstance(revision, str):
            raise WrongSchema(f"the migration {path} does not assign a text to `revision`")
        yield RevisionFile(path, revision, (down,) if isinstance(down, str) else tuple(down or ()))


def _read_constants(path: Path) -> dict[str, Any]:
    """Returns the constants that a module assigns to `revision` and `down_revision`."""
    values: dict[str, Any] = {}
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name) and target.id in ("revision", "down_revision"):
            values[target.id] = ast.literal_eval(value)
    return values
