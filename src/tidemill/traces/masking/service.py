"""Masking rules: creates and removes them, and tries them on a text."""

from tidemill.core import events
from tidemill.core.kernel import Context
from tidemill.core.wire import new_id
from tidemill.traces.masking import store
from tidemill.traces.masking.mask import compile_pattern
from tidemill.traces.masking.masker import Masker, build_mask
from tidemill.traces.types.masking import (
    Masked,
    Masking,
    MaskingRule,
    MaskingRuleCreate,
    MaskingRuleNotFound,
    MaskingTry,
)


def state(ctx: Context) -> Masking:
    """Return all that is masked in spans now."""
    masker = ctx.kernel.get(Masker)
    return Masking(content=masker.content, always=list(masker.always), rules=store.list_rules(ctx.conn))


def create(ctx: Context, body: MaskingRuleCreate) -> MaskingRule:
    """Mask something in every span that comes in from now on. Raises MaskingPatternInvalid."""
    if body.pattern is not None:
        compile_pattern(body.pattern)
    rule = MaskingRule(id=new_id("msk"), created_by=ctx.actor.name, created_at=ctx.now, **body.model_dump())
    store.insert(ctx.conn, rule)
    details = {"kinds": rule.kinds, "pattern": rule.pattern, "keys": rule.keys}
    events.emit(ctx, "masking.added", rule.id, details)
    ctx.once_committed(ctx.kernel.get(Masker).invalidate)
    return rule


def remove(ctx: Context, rule_id: str) -> None:
    """Remove a rule. Raises MaskingRuleNotFound."""
    rule = store.get(ctx.conn, rule_id)
    if rule is None or not store.delete(ctx.conn, rule_id):
        raise MaskingRuleNotFound(f"There is no masking rule {rule_id!r}.", hint="`tidemill masking list` shows them.")
    events.emit(ctx, "masking.removed", rule.id, rule.model_dump(include={"kinds", "pattern", "keys"}))
    ctx.once_committed(ctx.kernel.get(Masker).invalidate)


def attempt(ctx: Context, body: MaskingTry) -> Masked:
    """Return a text as the present rules would store it."""
    masker = ctx.kernel.get(Masker)
    mask = build_mask(masker.always, store.list_rules(ctx.conn), regions=masker.regions, content=True, salt="")
    text = mask.mask_text(body.text)
    return Masked(text=text, changed=text != body.text)
