"""Sessions of a made-up workflow and five ways in which they go wrong; drawn from a seeded generator."""

import random

Steps = tuple[int, ...]


def usual(chance: random.Random) -> Steps:
    steps = [1, 2]
    for _ in range(3):
        steps += [3, 4, *([7] if chance.random() < 0.3 else []), *[5] * chance.randint(1, 3), 6]
    if chance.random() < 0.4:
        steps += [8, 9]
    if chance.random() < 0.02:
        steps.append(chance.randint(10, 19))
    steps += [30, 31]
    if chance.random() < 0.3:
        at = chance.randrange(len(steps) - 1)
        steps[at], steps[at + 1] = steps[at + 1], steps[at]
    return tuple(steps)


def missing_step(chance: random.Random) -> Steps:
    steps, left_out = list(usual(chance)), chance.choice([3, 4, 6, 31])
    del steps[chance.choice([at for at, step in enumerate(steps) if step == left_out])]
    return tuple(steps)


def unknown_step(chance: random.Random) -> Steps:
    steps = list(usual(chance))
    steps.insert(chance.randrange(len(steps) + 1), chance.randint(40, 45))
    return tuple(steps)


def loop(chance: random.Random) -> Steps:
    steps = list(usual(chance))
    at = chance.choice([at for at, step in enumerate(steps) if step == 5])
    return (*steps[:at], *[5] * 8, *steps[at:])


def cut_short(chance: random.Random) -> Steps:
    return usual(chance)[: chance.randint(4, 8)]


def turned_round(chance: random.Random) -> Steps:
    return usual(chance)[::-1]
