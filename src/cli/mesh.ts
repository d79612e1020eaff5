/**
 * The first module of the program. It imports nothing before it has looked at the Node it runs
 * on: on older ones better-sqlite3 ends the process with a segmentation fault while it is loaded.
 */
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major > 22 || (major === 22 && minor >= 19)) {
  const { runProgram } = await import('./program.ts');
  process.exitCode = await runProgram(process.argv);
} else {
  process.stderr.write(
    `mesh needs Node.js 22.19 or later, and this is ${process.versions.node}. Install a newer one, or run make in the checkout, which fetches one.\n`,
  );
  process.exitCode = 1;
}
