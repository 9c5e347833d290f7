"""Commands that refuse a flag which is given twice and takes one value: the first would be lost."""

from collections import Counter
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from factory.errors import UsageError


class Verb(TyperCommand):
    """A verb of the command line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse flags that are given twice; then as Typer does."""
        _refuse_twice(self, ctx, args)
        return super().parse_args(ctx, args)


class VerbGroup(TyperGroup):
    """A verb that has others below it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse flags that are given twice; then as Typer does."""
        _refuse_twice(self, ctx, args)
        return super().parse_args(ctx, args)


def _refuse_twice(command: TyperCommand | TyperGroup, ctx: Any, args: list[str]) -> None:
    if ctx.resilient_parsing:
        return
    # What is parsed keeps the last value alone; the order of parsing has each.
    _, _, order = command.make_parser(ctx).parse_args(list(args))
    for option, times in Counter(one for one in order if _takes_one(one)).items():
        if times > 1:
            raise UsageError(
                f"{option.opts[0]}: found {times} times; expected once, for it takes one value. Leave the "
                "others away."
            )


def _takes_one(parameter: Any) -> bool:
    """Tell whether a second value would replace the first."""
    if not isinstance(parameter, TyperOption) or parameter.multiple:
        return False
    return not parameter.is_flag or bool(parameter.secondary_opts)
