/** What is refused, or failed, with its code: the classes of edge_app/errors.py. */

export class LimiarError extends Error {
  /** code: "E-IMAGE-BROKEN"; message: what was met, where, what to do. */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** An image that gets no answer. */
export class ImageError extends LimiarError {}

/** A bundle that is not what its manifest says. */
export class BundleError extends LimiarError {}

/** A model that this browser does not run. */
export class RuntimeUnavailable extends LimiarError {}
