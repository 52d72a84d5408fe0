"""What the rungs of effect say where the truth is known: over many simulated sets of deals.

    python benchmarks/effects.py 200 1000

For each truth (partners change nothing; deals are won 1.2 times as fast from the first touch on; sellers call
partners into hot deals, which changes nothing, without and with the stage among the strata) and each rung:
the mean figure, how often its interval holds the truth, and how often it excludes "no difference".
"""

from __future__ import annotations

import sys
from collections import defaultdict

import attribution as at
from attribution.measures.effect_table import MOVING
from attribution.testing import simulate

STRATA = ["segment", "size", "owner_id"]
TRUTHS = {
    "partners change nothing": ({}, STRATA),
    "won 1.2 times as fast from the first touch on": ({"hazard_ratio": 1.2}, STRATA),
    "sellers call partners into hot deals 4 times as often": ({"selection": 4.0}, STRATA),
    "the same, with the stage among the strata": ({"selection": 4.0}, [*STRATA, "stage"]),
}


def main(n_sets: int, n_deals: int) -> None:
    """Print a table per truth."""
    for title, (world, strata) in TRUTHS.items():
        rows, n_moving = defaultdict(list), 0
        for seed in range(n_sets):
            deals = simulate(n_deals, seed=seed, **world).load()
            effect = at.partner_effect(deals, strata=strata, seed=seed)
            n_moving += MOVING in effect.rows[-1]["note"]
            for row in effect.rows:
                if row["value"] is not None:
                    rows[row["rung"], row["measure"]].append((row["value"], row["low"], row["high"]))
        sys.stdout.write(
            f"\n{title}\n{'rung':<14}{'measure':<26}{'mean':>8}{'holds truth':>13}{'excludes none':>15}\n"
        )
        for (rung, measure), found in rows.items():
            none = 1.0 if measure == "win_hazard_ratio" else 0.0
            truth = (
                world.get("hazard_ratio", 1.0)
                if measure == "win_hazard_ratio" and rung != "placebo"
                else none
            )
            # what a ratio of 1.2 makes of a share depends on the deals
            known = (none == truth and "hazard_ratio" not in world) or measure == "win_hazard_ratio"
            mean = sum(value for value, _, _ in found) / len(found)
            holds = sum(low <= truth <= high for _, low, high in found) / len(found)
            excludes = sum(not low <= none <= high for _, low, high in found) / len(found)
            held = f"{holds:.1%}" if known or rung == "placebo" else "-"
            sys.stdout.write(f"{rung:<14}{measure:<26}{mean:>8.3f}{held:>13}{excludes:>15.1%}\n")
        sys.stdout.write(f"{MOVING}: {n_moving / n_sets:.1%} of the sets\n")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
