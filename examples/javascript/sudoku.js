// Solves a Sudoku through a reasoner: node sudoku.js HOST:PORT PUZZLE [--reflection]
"use strict";

const { Basin, load, reflected } = require("./basin.js");

const places = (make) => Array.from({ length: 9 }, (_, k) => Array.from({ length: 9 }, (_, i) => make(k, i)));
const LINES = [
  ...places((row, column) => 9 * row + column),
  ...places((column, row) => 9 * row + column),
  ...places((box, i) => 27 * Math.floor(box / 3) + 3 * (box % 3) + 9 * Math.floor(i / 3) + (i % 3)),
];

// The query of a puzzle of 81 characters; "." or "0" is an open cell.
function sudoku(puzzle) {
  const clues = [...puzzle].map((letter) => (".0".includes(letter) ? null : Number(letter)));
  return {
    variables: { grid: { values: [1, 2, 3, 4, 5, 6, 7, 8, 9], shape: [9, 9] } },
    terms: [{ kind: "discrete.all_different", scope: ["grid"], params: { lines: LINES } }],
    evidence: { grid: Array.from({ length: 9 }, (_, row) => clues.slice(9 * row, 9 * row + 9)) },
  };
}

async function main([address, puzzle, flag]) {
  const found = flag === "--reflection" ? await reflected(address) : { services: load() };
  const basin = new Basin(address, found.services);
  try {
    const [answer] = await basin.solve(sudoku(puzzle), { prove: true });
    const session = basin.session(sudoku(puzzle));
    await session.opened;
    const { grid } = answer.values ?? {};
    const other = grid && { grid: [[(grid[0][0] % 9) + 1, ...Array(8).fill(null)], ...Array(8).fill(Array(9).fill(null))] };
    const changed = await session.answer(other && { change: { evidence: other } });
    session.close();
    console.log(
      JSON.stringify({
        services: found.names ?? null,
        status: answer.status,
        unique: answer.unique,
        solution: grid ? grid.flat().join("") : null,
        changed: { status: changed.status, first: changed.values?.grid[0][0] ?? null },
      }),
    );
  } finally {
    basin.close();
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.details ?? error.message);
  process.exitCode = 3;
});
