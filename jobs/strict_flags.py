"""Commands that refuse a flag which is given twice and takes one value, or is given an empty one.

Of two values the first would be lost; an empty one is that of a shell's variable that is not set, and means the
working directory where a path is asked for.
"""

from collections import Counter
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from factory.errors import UsageError


class Verb(TyperCommand):
    """A verb of the command line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse flags that are given twice or empty; then as Typer does."""
        _refuse(self, ctx, args)
        return super().parse_args(ctx, args)


class VerbGroup(TyperGroup):
    """A verb that has others below it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse flags that are given twice or empty; then as Typer does."""
        _refuse(self, ctx, args)
        return super().parse_args(ctx, args)


def _refuse(command: TyperCommand | TyperGroup, ctx: Any, args: list[str]) -> None:
    if ctx.resilient_parsing:
        return
    # What is parsed keeps the last value alone; the order of parsing has each.
    values, _, order = command.make_parser(ctx).parse_args(list(args))
    for option, times in Counter(one for one in order if _takes_one(one)).items():
        if times > 1:
            raise UsageError(
                f"{option.opts[0]}: found {times} times; expected once, for it takes one value. Leave the "
                "others away."
            )
    for one in order:
        value = values[one.name]
        if "" in (value if isinstance(value, list | tuple) else [value]):
            name = one.opts[0] if isinstance(one, TyperOption) else str(one.metavar).strip("[].")
            raise UsageError(
                f"{name}: found an empty value; expected one. A variable of the shell that is not set does this: "
                "set it, or leave the flag away."
            )


def _takes_one(parameter: Any) -> bool:
    """Tell whether a second value would replace the first."""
    if not isinstance(parameter, TyperOption) or parameter.multiple:
        return False
    return not parameter.is_flag or bool(parameter.secondary_opts)
