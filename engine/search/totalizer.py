"""Counting inputs of which more and more are true: clauses for one more output at a time.

Output k is true where at least k + 1 inputs are; that it is false where fewer are is not said, as
it is only ever paid for.

Source: Bailleux and Boufkhad, "Efficient CNF encoding of Boolean cardinality constraints", CP 2003;
Martins, Joshi, Manquinho, Lynce, "Incremental cardinality constraints for MaxSAT", CP 2014.
"""

from dataclasses import dataclass, field


@dataclass
class Totalizer:
    """A node of the tree over some of the inputs; a leaf is one input."""

    size: int
    outputs: list[int]  # literals: at least one, at least two, ... are true
    left: "Totalizer | None" = None
    right: "Totalizer | None" = None

    @staticmethod
    def over(inputs: list[int]) -> "Totalizer":
        """A balanced tree over literals, without outputs yet."""
        if len(inputs) == 1:
            return Totalizer(1, list(inputs))
        half = len(inputs) // 2
        left, right = Totalizer.over(inputs[:half]), Totalizer.over(inputs[half:])
        return Totalizer(len(inputs), [], left, right)

    def copy(self) -> "Totalizer":
        left, right = (x.copy() if x is not None else None for x in (self.left, self.right))
        return Totalizer(self.size, list(self.outputs), left, right)

    def extend(self, outputs: int, made: "Made") -> None:
        """At least so many outputs, their clauses added to `made`."""
        outputs = min(outputs, self.size)
        if self.left is None or self.right is None or len(self.outputs) >= outputs:
            return
        self.left.extend(outputs, made)
        self.right.extend(outputs, made)
        for k in range(len(self.outputs), outputs):  # k + 1 inputs are true
            literal = made.literal()
            self.outputs.append(literal)
            for a in range(k + 2):
                b = k + 1 - a
                if a <= len(self.left.outputs) and b <= len(self.right.outputs):
                    if a > self.left.size or b > self.right.size:
                        continue
                    clause = [literal]
                    if a:
                        clause.append(self.left.outputs[a - 1] ^ 1)
                    if b:
                        clause.append(self.right.outputs[b - 1] ^ 1)
                    made.clauses.append(clause)
            if k:
                made.clauses.append([literal ^ 1, self.outputs[k - 1]])


@dataclass
class Made:
    """New variables from a number on, and the clauses over them."""

    next: int
    clauses: list[list[int]] = field(default_factory=list)

    def literal(self) -> int:
        self.next += 1
        return 2 * (self.next - 1)
