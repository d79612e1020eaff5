/**
 * A package of test/bench/node_modules. The product is checked and built without these being
 * there, so what is used of one is written down beside its use, and it is loaded when it is needed.
 */
export const loadPackage = async <Module>(name: string): Promise<Module> =>
  (await import(name)) as Module;
