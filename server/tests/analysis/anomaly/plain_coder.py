"""The coder once more, from its formulas, with dictionaries, one symbol at a time: what the fast one must equal."""

import math

P, Q, M = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, (1 << 64) - 1


class PlainCoder:
    def __init__(self, orders: tuple[int, ...], bits: int, end: int = 10, start: float = 1 / 256) -> None:
        self.orders, self.bits, self.end, self.start = orders, bits, end, start
        self.pair: dict[tuple[int, int], int] = {}
        self.context: dict[tuple[int, int], int] = {}
        self.distinct: dict[tuple[int, int], int] = {}

    def cells(self, line: list[int]) -> list[list[tuple[int, int]]]:
        """Per coded symbol and order: (context cell, pair cell)."""
        reach = max(self.orders)
        symbols = [self.end] * reach + list(line) + [self.end]
        found = []
        for i in range(reach, len(symbols)):
            h, row = 0x1234567, []
            for k in range(reach + 1):
                if k:
                    h = ((h ^ (symbols[i - k] + 1009 * k + 1)) * P) & M
                    h ^= h >> 29
                if k in self.orders:
                    mixed = h ^ (7919 * k)
                    context = (((mixed * Q) & M) >> 40) & ((1 << self.bits) - 1)
                    pair = ((((mixed + (symbols[i] + 1) * Q) & M) * P & M) >> 40) & ((1 << self.bits) - 1)
                    row.append((context, pair))
            found.append(row)
        return found

    def learn(self, lines: list[list[int]], weights: list[int]) -> None:
        known = set(self.pair)
        new = set()
        for line, weight in zip(lines, weights, strict=True):
            for row in self.cells(line):
                for order, (context, pair) in zip(self.orders, row, strict=True):
                    self.pair[order, pair] = self.pair.get((order, pair), 0) + weight
                    self.context[order, context] = self.context.get((order, context), 0) + weight
                    if (order, pair) not in known:
                        new.add((order, context, pair))
        for order, context, _ in new:
            self.distinct[order, context] = self.distinct.get((order, context), 0) + 1

    def cost(self, line: list[int]) -> list[int]:
        found = []
        for row in self.cells(line):
            p = self.start
            for order, (context, pair) in zip(self.orders, row, strict=True):
                seen = self.context.get((order, context), 0)
                distinct = self.distinct.get((order, context), 0)
                if seen:
                    p = (min(self.pair.get((order, pair), 0), seen) + distinct * p) / (seen + distinct)
            m, e = math.frexp(max(p, 2.0**-40))
            step = math.floor((2 * m - 1) * 4096)
            found.append(max(0, 1000 * (1 - e) - round(1000 * math.log2(1 + (step + 0.5) / 4096))))
        return found
