"""Deciding about masking: which rules stand, and what they would make of a text."""

from tidemill.core import events
from tidemill.core.kernel import Context
from tidemill.core.wire import new_id
from tidemill.traces.masking import store
from tidemill.traces.masking.mask import compiled
from tidemill.traces.masking.masker import Masker, mask_of
from tidemill.traces.types.masking import (
    Masked,
    Masking,
    MaskingRule,
    MaskingRuleCreate,
    MaskingRuleNotFound,
    MaskingTry,
)


def state(ctx: Context) -> Masking:
    """All that is taken out of spans now."""
    masker = ctx.kernel.get(Masker)
    return Masking(content=masker.content, always=list(masker.always), rules=store.every(ctx.conn))


def create(ctx: Context, body: MaskingRuleCreate) -> MaskingRule:
    """Take something out of every span that comes in from now on. Raises MaskingPatternInvalid."""
    if body.pattern is not None:
        compiled(body.pattern)
    rule = MaskingRule(id=new_id("msk"), created_by=ctx.actor.name, created_at=ctx.now, **body.model_dump())
    store.insert(ctx.conn, rule)
    facts = {"kinds": rule.kinds, "pattern": rule.pattern, "keys": rule.keys}
    events.emit(ctx, "masking.added", rule.id, facts)
    ctx.once_committed(ctx.kernel.get(Masker).invalidate)
    return rule


def remove(ctx: Context, rule_id: str) -> None:
    """Take a rule away. Raises MaskingRuleNotFound."""
    rule = store.get(ctx.conn, rule_id)
    if rule is None:
        raise MaskingRuleNotFound(f"There is no masking rule {rule_id!r}.", hint="`tidemill masking list` shows them.")
    store.delete(ctx.conn, rule_id)
    events.emit(ctx, "masking.removed", rule.id, rule.model_dump(include={"kinds", "pattern", "keys"}))
    ctx.once_committed(ctx.kernel.get(Masker).invalidate)


def attempt(ctx: Context, body: MaskingTry) -> Masked:
    """What the rules would make of a text."""
    mask = mask_of(ctx.kernel.get(Masker).always, store.every(ctx.conn), content=True, salt="")
    text = mask.text(body.text)
    return Masked(text=text, changed=text != body.text)
