"""Which version serves, which one is tried beside it, and how that came about.

The alias `champion` in MLflow is the truth of who serves: one call moves it. The rows of the
ledger and the challenger stand in the catalog. A change of champion takes these steps:

1. a tag on the version in MLflow says what is about to be done, by whom and why;
2. the alias moves;
3. one transaction adds the ledger's rows, ends the rollout and tells people;
4. the alias `challenger` goes where the rollout is over.

A process that dies after 2 leaves an alias that the ledger does not know; the next call finds the
tag and does the rest. One that dies before has changed nothing.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal

import sqlalchemy as sa

from rag_platform.errors import Overtaken
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Outbox
from rag_platform.storage.schema_models import rollouts
from rag_platform.training.errors import NoSuchModel, RegistryUnavailable
from rag_platform.training.ledger import (
    CHALLENGER,
    CHAMPION,
    Decision,
    Ledger,
    Promotion,
    Rollout,
)
from rag_platform.training.registry import ModelRegistry, Version

logger = logging.getLogger(__name__)

Entered = Literal["champion", "challenger", "retired"]

_INTENT = "rag_platform.promotion"
_LONGEST_INTENT = 50_000
_PATIENCE_S = 900.0


class Promotions:
    """The champion and the challenger of every model, and the ledger of how they came to be.

    One process at a time changes a model. The same decision again, with nothing between, is the
    one that was made: who was killed may say it once more. Methods that change a model raise
    `RegistryUnavailable`, and `NoSuchModel` for a version that there is not.
    """

    def __init__(self, catalog: Catalog, registry: ModelRegistry, outbox: Outbox) -> None:
        self._catalog = catalog
        self._registry = registry
        self._outbox = outbox
        self._ledger = Ledger(catalog)

    # Looking

    def history(self, model: str) -> list[Promotion]:
        """What happened to the versions of a model, oldest first."""
        return self._ledger.rows(model)

    def recent(self, model: str, limit: int, *, before: int | None = None) -> list[Promotion]:
        """What happened, the newest first; `before` an id."""
        return self._ledger.recent(model, limit, before=before)

    def rollout(self, model: str) -> Rollout | None:
        """The challenger and its share; None where no version is tried."""
        return self._ledger.rollout(model)

    def champion(self, model: str) -> Version | None:
        """The version that serves, as the ledger knows it: without asking MLflow."""
        return self._known(model, self._ledger.champion(model))

    def challenger(self, model: str) -> Version | None:
        """The version that is tried, likewise."""
        rollout = self.rollout(model)
        return self._known(model, rollout.challenger if rollout else None)

    def state(self, model: str) -> str:
        """What serves and what is tried, in a line that another decision would change."""
        rollout = self.rollout(model)
        tried = [f"{rollout.challenger} {rollout.share} %"] if rollout else []
        return ", ".join([self._ledger.champion(model) or "none", *tried])

    def previous(self, model: str) -> str | None:
        """The version that would serve again if the champion were rolled back."""
        return self._ledger.previous_champion(model)

    def _known(self, model: str, number: str | None) -> Version | None:
        return None if number is None else self._registry.registered(model, number)

    # Changing

    def enter(
        self,
        model: str,
        version: str,
        *,
        actor: str,
        reason: str,
        run_id: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Entered:
        """Let a registered version serve if it is the first, else be tried in shadow.

        A version enters once: `retired` is one that was tried or served before and no longer is.
        A challenger that is being tried is withdrawn for the new one.
        """
        with self._alone(model):
            self._settle(model)
            champion, rollout = self._ledger.champion(model), self.rollout(model)
            if version == champion:
                return "champion"
            if rollout is not None and version == rollout.challenger:
                return "challenger"
            if self._ledger.has_entered(model, version):
                return "retired"
            self._check(model, version)
            if champion is None:
                self._crown(model, version, Decision("promoted", actor, reason, run_id, facts))
                return "champion"
            decision = Decision("challenger", actor, reason, run_id, facts)
            self._challenge(model, version, decision, champion, rollout)
            return "challenger"

    def count(self, model: str, version: str, *, day: str, units: int) -> Rollout | None:
        """Add the units that a challenger answered on a day; None where it is tried no longer.

        Days count once, in their order: one that is not after the last changes nothing.
        """
        later = sa.or_(rollouts.c.counted_day.is_(None), rollouts.c.counted_day < day)
        with self._catalog.begin() as connection:
            connection.execute(
                sa.update(rollouts)
                .where(rollouts.c.model == model, rollouts.c.challenger == version, later)
                .values(counted_day=day, units=rollouts.c.units + units)
            )
        rollout = self.rollout(model)
        return rollout if rollout is not None and rollout.challenger == version else None

    def step(
        self,
        model: str,
        share: int,
        *,
        version: str | None = None,
        actor: str,
        reason: str,
        run_id: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Promotion:
        """Let the challenger answer `share` % of the units, and count its units from 0.

        MLflow is not asked. Raises `NoSuchModel` where `version` is not the challenger (any more).
        """
        decision = Decision("step", actor, reason, run_id, facts)
        with self._alone(model):
            rollout = self._running(model, version)
            done = self._done(model, decision)
            if done is not None and done.share == rollout.share == share:
                return done
            champion = self._ledger.champion(model)
            with self._catalog.begin() as connection:
                connection.execute(
                    sa.update(rollouts)
                    .where(rollouts.c.model == model)
                    .values(share=share, units=0)
                )
                return self._ledger.add(
                    connection, model, rollout.challenger, decision, champion=champion, share=share
                )

    def promote(
        self,
        model: str,
        version: str | None = None,
        *,
        actor: str,
        reason: str,
        run_id: str | None = None,
        facts: Mapping[str, Any] | None = None,
        seen: str | None = None,
    ) -> Promotion:
        """Let a version serve all units: by default the challenger. Nothing if it does already.

        `seen` is the `state` on which this was decided: where it is another one by now, nothing is
        done, and `Overtaken` is raised.
        Another challenger is withdrawn: the champion that it was measured against is gone.
        """
        decision = Decision("promoted", actor, reason, run_id, facts)
        with self._alone(model):
            self._settle(model)
            self._check_seen(model, seen)
            done = self._done(model, decision)
            if done is not None and version in (None, done.version):
                return done
            version = version or self._running(model).challenger
            crowning = self._ledger.crowning(model)
            if crowning is not None and crowning.version == version:
                return crowning
            self._check(model, version)
            return self._crown(model, version, decision)

    def rollback(
        self,
        model: str,
        *,
        actor: str,
        reason: str,
        run_id: str | None = None,
        facts: Mapping[str, Any] | None = None,
        seen: str | None = None,
    ) -> Promotion:
        """Undo the last change of what is served; `seen` as for `promote`.

        A challenger that answers units is withdrawn, and the champion stays. Otherwise the version
        that served before serves again, and a challenger in shadow goes. Raises `NoSuchModel`
        where none served before.
        """
        decision = Decision("rolled_back", actor, reason, run_id, facts)
        withdrawal = Decision("withdrawn", actor, reason, run_id, facts)
        with self._alone(model):
            self._settle(model)
            self._check_seen(model, seen)
            done = self._done(model, decision, withdrawal)
            if done is not None:
                return done
            rollout = self.rollout(model)
            if rollout is not None and rollout.share > 0:
                return self._withdraw(rollout, withdrawal)
            previous = self.previous(model)
            if previous is None:
                raise NoSuchModel(
                    f"{model}: there is no version to go back to: none served before version "
                    f"{self._ledger.champion(model) or '(none)'}."
                )
            self._check(model, previous)
            return self._crown(model, previous, decision)

    def withdraw(
        self,
        model: str,
        *,
        version: str | None = None,
        actor: str,
        reason: str,
        run_id: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Promotion:
        """Try the challenger no longer: at once, even where MLflow is away.

        Raises `NoSuchModel` where `version` is not the challenger (any more).
        """
        with self._alone(model):
            with _put_off(model):
                self._settle(model)
            decision = Decision("withdrawn", actor, reason, run_id, facts)
            done = self._done(model, decision)
            return done or self._withdraw(self._running(model, version), decision)

    def settle(self, model: str) -> Promotion | None:
        """Finish what a process that died has begun; the row that was missing, if one was."""
        with self._alone(model):
            return self._settle(model)

    # How it is done

    @contextmanager
    def _alone(self, model: str) -> Iterator[None]:
        with self._catalog.exclusive(f"promotions-{model}", timeout_s=_PATIENCE_S):
            yield

    def _done(self, model: str, *decisions: Decision) -> Promotion | None:
        """The last row, where it stands for one of these decisions."""
        rows = (row for row in reversed(self.history(model)) if row.action != "registered")
        last = next(rows, None)
        if last is not None and any(decision.is_of(last) for decision in decisions):
            return last
        return None

    def _running(self, model: str, version: str | None = None) -> Rollout:
        rollout = self.rollout(model)
        if rollout is None:
            raise NoSuchModel(f"{model}: there is no challenger. Train one, or name a version.")
        if version not in (None, rollout.challenger):
            raise NoSuchModel(
                f"{model}: version {version} is not the challenger, but {rollout.challenger} is."
            )
        return rollout

    def _check_seen(self, model: str, seen: str | None) -> None:
        if seen not in (None, self.state(model)):
            raise Overtaken(
                f"Nothing was done: what serves or is tried of {model} has changed since it was "
                "shown. Look again and decide again."
            )

    def _check(self, model: str, number: str) -> None:
        """Only what is whole may serve. Raises `NoSuchModel`, `UnusablePackage`."""
        version = self._registry.version(model, number)
        if version is None:
            raise NoSuchModel(f"{model}: there is no version {number}.")
        self._registry.folder(version)

    def _settle(self, model: str) -> Promotion | None:
        aliases = self._registry.aliases(model)
        found, known = aliases.get(CHAMPION), self._ledger.champion(model)
        settled = None
        if found != known:
            if found is not None and self._known(model, found):
                settled = self._record(model, found, self._intent(model, found))
            elif known is not None:
                logger.warning(
                    "%s: the alias champion was at version %s, which was not registered here; "
                    "version %s, which serves, has it again",
                    model,
                    found or "(none)",
                    known,
                )
                self._registry.set_alias(model, CHAMPION, known)
        self._mirror(model, aliases.get(CHALLENGER))
        return settled

    def _mirror(self, model: str, alias: str | None) -> None:
        """Let the alias `challenger` in MLflow be as the catalog says."""
        rollout = self.rollout(model)
        wanted = rollout.challenger if rollout else None
        if wanted is not None and alias != wanted:
            self._registry.set_alias(model, CHALLENGER, wanted)
        elif wanted is None and alias is not None:
            self._registry.delete_alias(model, CHALLENGER)

    def _crown(self, model: str, version: str, decision: Decision) -> Promotion:
        rollout = self.rollout(model)
        self._registry.tag_version(model, version, _INTENT, self._as_intent(model, decision))
        self._registry.set_alias(model, CHAMPION, version)
        row = self._record(model, version, decision)
        with _put_off(model):
            self._mirror(model, rollout.challenger if rollout else None)
        return row

    def _record(self, model: str, version: str, decision: Decision) -> Promotion:
        """The ledger's rows and the message of a change of champion, and the end of a rollout."""
        before, rollout = self._ledger.champion(model), self.rollout(model)
        with self._catalog.begin() as connection:
            connection.execute(sa.delete(rollouts).where(rollouts.c.model == model))
            if rollout is not None and rollout.challenger != version:
                gone = Decision(
                    "withdrawn", decision.actor, f"version {version} serves", decision.run_id
                )
                self._ledger.add(connection, model, rollout.challenger, gone, champion=before)
            row = self._ledger.add(connection, model, version, decision, champion=version)
            self._tell(connection, row, f"serves, {_instead(before)}")
        return row

    def _challenge(
        self,
        model: str,
        version: str,
        decision: Decision,
        champion: str,
        rollout: Rollout | None,
    ) -> None:
        now = {"model": model, "challenger": version, "share": 0, "counted_day": None, "units": 0}
        with self._catalog.begin() as connection:
            if rollout is not None:
                gone = Decision(
                    "withdrawn", decision.actor, f"version {version} is tried", decision.run_id
                )
                self._ledger.add(connection, model, rollout.challenger, gone, champion=champion)
            row = self._ledger.add(connection, model, version, decision, champion=champion, share=0)
            self._catalog.upsert(connection, rollouts, [now | {"began_at": row.at}])
            self._tell(connection, row, f"is tried in shadow beside version {champion}")
        self._registry.set_alias(model, CHALLENGER, version)

    def _withdraw(self, rollout: Rollout, decision: Decision) -> Promotion:
        model, champion = rollout.model, self._ledger.champion(rollout.model)
        with self._catalog.begin() as connection:
            connection.execute(sa.delete(rollouts).where(rollouts.c.model == model))
            row = self._ledger.add(
                connection, model, rollout.challenger, decision, champion=champion
            )
            self._tell(connection, row, f"is tried no longer, version {champion} goes on serving")
        with _put_off(model):
            self._registry.delete_alias(model, CHALLENGER)
        return row

    def _tell(self, connection: sa.Connection, row: Promotion, what: str) -> None:
        told = [f"{row.model}: version {row.version} {what}", f"By {row.actor}: {row.reason}"]
        told += [f"- {verdict['told']}" for verdict in row.facts.get("verdicts", ())]
        url = self._registry.version_url(Version(row.model, row.version, ""))
        if url is not None:
            told.append(url)
        self._outbox.tell_in(connection, f"models/{row.model}/{row.id}", "\n".join(told))

    def _as_intent(self, model: str, decision: Decision) -> str:
        """A decision for MLflow's tag; it counts until there is another champion."""
        said = asdict(decision) | {"after": self._crowned_by(model)}
        text = json.dumps(said)
        return text if len(text) <= _LONGEST_INTENT else json.dumps(said | {"facts": {}})

    def _intent(self, model: str, number: str) -> Decision:
        """What was about to be done when the alias moved; without a tag it was moved by hand."""
        by_hand = Decision("promoted", "mlflow", "the alias was moved in MLflow")
        version = self._registry.version(model, number)
        try:
            said = json.loads(version.tags[_INTENT] if version else "")
            is_due = said.pop("after") == self._crowned_by(model)
            found = Decision(**said)
        except (KeyError, ValueError, TypeError, AttributeError):
            return by_hand
        is_whole = isinstance(found.actor, str) and isinstance(found.reason, str)
        is_whole &= found.action in ("promoted", "rolled_back")
        return found if is_due and is_whole else by_hand

    def _crowned_by(self, model: str) -> int | None:
        row = self._ledger.crowning(model)
        return row.id if row else None


@contextmanager
def _put_off(model: str) -> Iterator[None]:
    """What only tidies MLflow may wait: the next change of the model does it."""
    try:
        yield
    except RegistryUnavailable as error:
        logger.warning("%s: put off: %s", model, error)


def _instead(before: str | None) -> str:
    return f"instead of version {before}" if before else "the first of its model"
