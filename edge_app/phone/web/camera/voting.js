/** K of N: several frames of one scene must agree before there is a decision. As edge_app/camera/voting.py. */

const APART_S = 5; // answers further apart belong to two scenes

/** The last answers of a camera, and what they agree on. A frame that is referred agrees with no label. */
export class Voting {
  /** agree <= of. */
  constructor(agree, of, apartS = APART_S) {
    if (!(agree >= 1 && agree <= of)) throw new RangeError(`${agree} of ${of} frames cannot agree`);
    this.agree = agree;
    this.of = of;
    this.apartS = apartS;
    this.seen = []; // {answer, sequence}
    this.atS = -Infinity; // of the last one
    this.decision = null;
  }

  /**
   * What the last frames agree on, with this one; null if too few agree.
   *
   * answer: {decision, label, probabilities: {label: 0..1}}; atS: seconds by a clock that does not jump.
   * -> {decision, label, confidence: median over the agreeing frames, frames, agreeing, spread, first, last} or null.
   */
  add(answer, sequence, atS) {
    if (atS - this.atS > this.apartS) this.gap();
    this.atS = atS;
    this.seen.push({ answer, sequence });
    if (this.seen.length > this.of) this.seen.shift();
    const decision = this.agreed();
    if (decision === null) return null;
    if (this.decision !== null && this.decision !== decision) {
      while (this.seen[0].answer.decision !== decision) this.seen.shift(); // the frames before the new scene
    }
    this.decision = decision;
    return this.vote(decision);
  }

  /** Forgets all frames: what follows may be another scene. */
  gap() {
    this.seen = [];
    this.decision = null;
  }

  /** The decision of enough frames; if there are two, which a small `agree` allows, the newer one. */
  agreed() {
    const decisions = this.seen.map(({ answer }) => answer.decision);
    const enough = (one) => decisions.filter((other) => other === one).length >= this.agree;
    return decisions.findLast(enough) ?? null;
  }

  vote(decision) {
    const agreeing = this.seen.filter(({ answer }) => answer.decision === decision).map(({ answer }) => answer);
    const label = commonest(agreeing.map((answer) => answer.label).reverse()); // frames that are referred may differ in it
    const shares = this.seen.map(({ answer }) => answer.probabilities[label]);
    return {
      decision,
      label,
      confidence: medianOf(agreeing.map((answer) => answer.probabilities[label])),
      frames: this.seen.length,
      agreeing: agreeing.length,
      spread: Math.max(...shares) - Math.min(...shares),
      first: this.seen[0].sequence,
      last: this.seen.at(-1).sequence,
    };
  }
}

/** The one that is there most often; of several, the first. */
function commonest(labels) {
  const count = new Map();
  for (const label of labels) count.set(label, (count.get(label) ?? 0) + 1);
  const most = Math.max(...count.values());
  return labels.find((label) => count.get(label) === most);
}

function medianOf(values) {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
