"""The account rule's search agrees with looking at every deal (RULES 4.2)."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from attribution.derive.eligible import ALWAYS, Eligible

instants = st.integers(0, 12)
deals = st.lists(st.tuples(st.integers(0, 2), instants, instants), max_size=12)
touches = st.lists(st.tuples(st.integers(0, 3), instants), max_size=12)


@given(deals, touches)
def test_the_nearest_deal_is_the_one_that_needs_the_shortest_window(deals, touches):
    columns = np.array(
        [(group, at, created, ends) for at, (group, created, ends) in enumerate(deals)], np.int64
    )
    found = Eligible(*columns.reshape(-1, 4).T).nearest(*np.array(touches, np.int64).reshape(-1, 2).T)
    for place, (group, at) in enumerate(touches):
        windows = sorted(
            (max(created - at, 0), deal)
            for deal, (of, created, ends) in enumerate(deals)
            if of == group and at <= ends
        )
        deal, reach_from, reach_below = (int(column[place]) for column in found)
        if not windows:
            assert deal == -1
        else:
            assert reach_from == windows[0][0]
            assert reach_below == (windows[1][0] if len(windows) > 1 else ALWAYS)
            assert deal >= 0
            if reach_from < reach_below:
                assert deal == windows[0][1]
