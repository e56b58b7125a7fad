/** A running camera: the latest frame is answered, again and again, and K of N of them decide. As edge_app/camera/deciding.py. */

import { Voting } from "./voting.js";

/** How a camera's frames decide. everyS: a decision that stays the same is kept at most once in so many seconds. */
export const CAMERA_RULE = { agree: 3, of: 5, everyS: 60 };

/** Frames -> answers -> decisions. */
export class Watch {
  /**
   * camera: as openCamera gives it. ask(frame) -> a line, of a frame as camera.frame() gives it; throws what the worker does.
   * told(look), awaited after each frame:
   *   line     of this frame; with frames, agreeing and spread if enough frames agree with it
   *   vote     as Voting gives it: what enough of the last frames agree on; null: not yet
   *   seen     decisions of the frames that count, the oldest first: at most rule.of
   *   keep     whether the line is to be kept: it is decided, and new, or the last one like it was kept rule.everyS ago
   *   picture  Blob, small, of the frame if it is to be kept; otherwise null
   */
  constructor(camera, ask, told, rule = CAMERA_RULE) {
    this.camera = camera;
    this.ask = ask;
    this.told = told;
    this.rule = rule;
    this.voting = new Voting(rule.agree, rule.of);
    this.kept = null; // the decision that was kept last
    this.dueS = 0; // when it may be kept again
    this.dropped = 0; // frames since
  }

  /** Runs until stop(). Throws LimiarError if the camera gives no new frame, or what `ask` and `told` throw; it is closed then. */
  async run() {
    try {
      for (let frame = await this.camera.frame(); frame !== null; frame = await this.camera.frame()) {
        this.dropped += frame.about.dropped;
        const line = await this.ask(frame);
        if (this.camera.closed) return;
        await this.told(await this.look(line, performance.now() / 1000));
      }
    } finally {
      this.camera.close();
    }
  }

  /** Ends run(). */
  stop() {
    this.camera.close();
  }

  async look(line, nowS) {
    if (line.code != null) {
      this.voting.gap();
      return { line, vote: null, seen: [], keep: false, picture: null };
    }
    const vote = this.voting.add(line, line.sequence, nowS);
    const seen = this.voting.seen.map(({ answer }) => answer.decision);
    if (vote?.decision !== line.decision) return { line, vote, seen, keep: false, picture: null };
    const { frames, agreeing, spread } = vote;
    const decided = { ...line, frames, agreeing, spread };
    if (vote.decision === this.kept && nowS < this.dueS) return { line: decided, vote, seen, keep: false, picture: null };
    const look = { line: { ...decided, dropped: this.dropped }, vote, seen, keep: true, picture: await this.camera.thumbnail() };
    this.kept = vote.decision;
    this.dueS = nowS + this.rule.everyS;
    this.dropped = 0;
    return look;
  }
}
