"""Translates the texts of templates when they are compiled, so that rendering costs nothing.

`{{ _("Text") }}` and `{% trans %}` without a plural become constants and the values between them. A
translation is data, not source: it cannot contain template syntax. Its HTML is trusted, as that of
the template; values are escaped as everywhere. Plurals are looked up at rendering.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.visitor import NodeTransformer

from db.messages import Catalog

FUNCTIONS: Final = ("_", "gettext")
PLACEHOLDER: Final = re.compile(r"%\((\w+)\)s")


class TranslatingCodeGenerator(CodeGenerator):
    """Jinja's code generator, for an environment with the global `language`."""

    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:
        language: Any = self.environment.globals["language"]
        translator = _Translator(language)
        super().visit_Template(translator.visit(node), frame)


class _Translator(NodeTransformer):
    """Replaces the calls of `gettext` with a constant text."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def visit_Output(self, node: nodes.Output) -> nodes.Output:
        expressions: list[nodes.Expr] = []
        for child in node.nodes:
            parts = self._translate(child)
            expressions += [self.visit(child)] if parts is None else parts
        node.nodes = expressions
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Expr:
        parts = self._translate(node)
        if parts is None:
            return self.generic_visit(node)  # type: ignore[return-value]
        if len(parts) == 1 and isinstance(parts[0], nodes.TemplateData):
            return _constant(parts[0].data, node.lineno)
        # The first part is markup, so the concatenation escapes the values and is markup too.
        markup = nodes.MarkSafe(nodes.Const("", lineno=node.lineno), lineno=node.lineno)
        escaped = [
            _constant(part.data, node.lineno) if isinstance(part, nodes.TemplateData) else part
            for part in parts
        ]
        return nodes.Concat([markup, *escaped], lineno=node.lineno)

    def _translate(self, node: nodes.Node) -> list[nodes.Expr] | None:
        """Returns the texts and the values of a call of `gettext`; None for any other node."""
        if (
            not isinstance(node, nodes.Call)
            or not isinstance(node.node, nodes.Name)
            or node.node.name not in FUNCTIONS
            or len(node.args) != 1
            or not isinstance(node.args[0], nodes.Const)
        ):
            return None
        values = {keyword.key: self.visit(keyword.value) for keyword in node.kwargs}
        text = node.args[0].value
        translated = self._catalog.gettext(text)
        if set(PLACEHOLDER.findall(translated)) - set(values):
            translated = text  # A wrong catalog must not break the page.
        return list(_split(translated, values, node.lineno))


def _split(text: str, values: dict[str, nodes.Expr], lineno: int) -> Iterator[nodes.Expr]:
    """Yields the constant parts of a text, which doubles each `%`, and the values between them."""
    for index, part in enumerate(PLACEHOLDER.split(text)):
        if index % 2:
            yield values[part]
        elif part or not index:
            yield nodes.TemplateData(part.replace("%%", "%"), lineno=lineno)


def _constant(text: str, lineno: int) -> nodes.Expr:
    """Returns a constant that is not escaped again. A text without HTML needs no mark for that."""
    constant: Any = nodes.Const(text, lineno=lineno)
    return nodes.MarkSafe(constant, lineno=lineno) if re.search(r"[<>&\"']", text) else constant
