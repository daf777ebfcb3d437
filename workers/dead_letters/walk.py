"""The statements that walk dead letters in the order of their deaths."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from penstock.workers.dead_letters.filters import LetterFilter
from penstock.workers.dead_letters.letters import LetterState
from penstock.workers.dead_letters.reading import LETTER_COLUMNS

Statement = tuple[str, dict[str, Any]]
Moment = datetime | None


class Walk:
    """One page's statements.

    The indexes lead with a column and the state, and go on in the list's order. A list of any state merges one walk
    for each, so that every list is read from an index and none is sorted.

    Args:
        limit: rows of the page, and one to tell whether there are more.
        place: instant and id of the letter that it begins behind.
    """

    def __init__(
        self, letter_filter: LetterFilter, newest_first: bool, limit: int, place: tuple[datetime, UUID] | None
    ) -> None:
        self.limit = limit
        self.newest_first = newest_first
        self.looks_inside = letter_filter.looks_inside
        self._states = [letter_filter.state] if letter_filter.state is not None else list(LetterState)
        self._filter = letter_filter
        self._place = place
        direction = "DESC" if newest_first else "ASC"
        self._order = f"died_at {direction}, dead_id {direction}"
        self._behind = "<" if newest_first else ">"

    def ordered(self) -> Statement:
        """The page, where no content matters."""
        return self._merged(LETTER_COLUMNS, self.limit)

    def probe(self, look_into: int) -> Statement:
        """As much of the page as is among the first `look_into` letters that meet the rest of the filter."""
        rows, parameters = self._merged("*", look_into)
        inside, more = self._filter.where_inside()
        statement = f"""
            SELECT {LETTER_COLUMNS} FROM ({rows}) AS probed WHERE {inside} ORDER BY {self._order} LIMIT %(limit)s
        """
        return statement, parameters | more | {"limit": self.limit}

    def probed(self, look_into: int) -> Statement:
        """How many letters `probe` looks into, as `n`, and the first and the last instant of their deaths."""
        rows, parameters = self._merged("died_at, dead_id", look_into)
        return f"SELECT count(*) AS n, min(died_at) AS first, max(died_at) AS last FROM ({rows}) AS probed", parameters

    def ends(self) -> Statement:
        """The first and the last instant of death of letters in these states."""
        asked = "SELECT min(died_at) AS first, max(died_at) AS last FROM penstock.dead_letters WHERE state = %({})s"
        names = {f"end_{state}": str(state) for state in self._states}
        parts = " UNION ALL ".join(asked.format(name) for name in names)
        return f"SELECT min(first) AS first, max(last) AS last FROM ({parts}) AS ends", dict(names)

    def by_content(self, cap: int | None = None, since: Moment = None, until: Moment = None) -> Statement:
        """The page, by the index of contents: what it yields, sorted; each row with `n`, how many there were.

        Args:
            cap: look no further once there are so many, in no order; the page is whole only where `n` is less.
            since: of deaths not before it.
            until: of deaths before it.
        """
        condition, parameters = self._filter.where()
        condition = self._and_behind(condition, parameters)
        for name, comparison, moment in (("slice_since", ">=", since), ("slice_until", "<", until)):
            if moment is not None:
                parameters[name] = moment
                condition += f" AND died_at {comparison} %({name})s"
        found = f"SELECT {LETTER_COLUMNS} FROM penstock.dead_letters WHERE {condition}"
        if cap is not None:
            found += " LIMIT %(cap)s"
            parameters["cap"] = cap
        # Materialised: told of the page's LIMIT, PostgreSQL may walk the order in the hope of an early end.
        statement = f"""
            WITH found AS MATERIALIZED ({found})
            SELECT *, (SELECT count(*) FROM found) AS n FROM found ORDER BY {self._order} LIMIT %(limit)s
        """
        return statement, parameters | {"limit": self.limit}

    def _merged(self, columns: str, limit: int) -> Statement:
        parameters: dict[str, Any] = {"rows": limit}
        branches = []
        for state in self._states:
            condition, more = replace(self._filter, state=state).where_outside()
            parameters |= {f"{name}_{state}" if name == "f_state" else name: value for name, value in more.items()}
            condition = self._and_behind(condition.replace("%(f_state)s", f"%(f_state_{state})s"), parameters)
            branches.append(
                f"(SELECT {columns} FROM penstock.dead_letters WHERE {condition} ORDER BY {self._order} LIMIT %(rows)s)"
            )
        if len(branches) == 1:
            return branches[0], parameters
        return f"{' UNION ALL '.join(branches)} ORDER BY {self._order} LIMIT %(rows)s", parameters

    def _and_behind(self, condition: str, parameters: dict[str, Any]) -> str:
        if self._place is None:
            return condition
        parameters["place_at"], parameters["place_id"] = self._place
        return f"{condition} AND (died_at, dead_id) {self._behind} (%(place_at)s, %(place_id)s)"
