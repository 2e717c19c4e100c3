/** The device's camera: its pictures, one at a time, as fast as they are answered. */

/** Why browsers refuse, by the error's name, in words that help. */
const REFUSALS = /** @type {Record<string, string>} */ ({
  NotAllowedError: "The camera was refused. Allow it in the browser's settings of this page, then start it again.",
  NotFoundError: "This device has no camera that the browser can see. Choose pictures instead.",
  NotReadableError: "The camera is in use by another program. Close that, then start it again.",
  OverconstrainedError: "This device has no such camera.",
});

/**
 * @param {MediaStream | null} stream
 * @returns {null}
 */
function end(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
  return null;
}

export class Camera {
  /** @param {HTMLVideoElement} video  shows it */
  constructor(video) {
    this.video = video;
    /** @type {MediaStream | null} */
    this.stream = null;
    /** @type {object | null} what began last, until it is stopped */
    this.attempt = null;
    /** @type {"environment" | "user"} */
    this.facing = "environment";
  }

  /** Whether it shows pictures, or will once it is allowed. */
  get isOn() {
    return this.attempt !== null;
  }

  /**
   * @returns {Promise<MediaStream | null>} once it shows pictures; none where it was stopped meanwhile
   * @throws {Error} one sentence, where it cannot
   */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia)
      throw new Error(
        window.isSecureContext
          ? "This browser gives pages no camera. Choose pictures instead."
          : "Browsers give the camera only to pages opened by https, or on this machine itself. Open this page by https (mobileone web --serve --tls).",
      );
    this.stop();
    const attempt = (this.attempt = {});
    try {
      const stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: this.facing, width: { ideal: 1280 }, height: { ideal: 720 } },
        audio: false,
      });
      // Whoever stopped it while the browser asked for permission found no stream to stop.
      if (this.attempt !== attempt) return end(stream);
      this.stream = this.video.srcObject = stream;
      await this.video.play();
      stream.getVideoTracks()[0]?.addEventListener("ended", () => this.stop());
      return this.attempt === attempt ? stream : null;
    } catch (error) {
      if (this.attempt !== attempt) return null;
      this.stop();
      const name = error instanceof Error ? error.name : "";
      throw new Error(REFUSALS[name] ?? `The camera did not start (${error}).`);
    }
  }

  stop() {
    this.attempt = null;
    end(this.stream);
    this.stream = null;
    this.video.srcObject = null;
  }

  /** Another one, where there are several: the one that looks at the user, or away from them. */
  turn() {
    this.facing = this.facing === "user" ? "environment" : "user";
    return this.start();
  }

  /** @returns {Promise<boolean>} whether there are several; told only once one was allowed */
  async hasOthers() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter((device) => device.kind === "videoinput").length > 1;
  }

  /** @returns {boolean} */
  get looksAtUser() {
    return this.stream?.getVideoTracks()[0]?.getSettings().facingMode === "user";
  }

  /** @returns {Promise<ImageBitmap | null>} the next picture that was not taken yet; none where it was stopped */
  async next() {
    if ("requestVideoFrameCallback" in this.video)
      // A camera that falls silent, because the page is in the background, is asked again.
      await new Promise((done) => {
        const handle = this.video.requestVideoFrameCallback(done);
        setTimeout(() => (this.video.cancelVideoFrameCallback(handle), done(null)), 500);
      });
    else await new Promise((done) => requestAnimationFrame(done));
    if (!this.stream || !this.video.videoWidth) return null;
    return createImageBitmap(this.video);
  }
}
