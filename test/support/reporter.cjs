/** Prints `N passed, N failed` as the last line, the form CI reads. */
class CountReporter {
  onRunComplete(_contexts, results) {
    // A suite that could not run counts as one failure, so that the line never hides it.
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    setImmediate(() => console.log(`${results.numPassedTests} passed, ${failed} failed`));
  }
}
module.exports = CountReporter;
