// A photo of the reader's own: a file or the camera, to the kernel on this machine and nowhere else.

const MOST = 7e6; // bytes in one message; a notebook's connection breaks at 10 MiB
const SIDE = 2400; // pixels along the longer side of what is made smaller here
const STYLE = `
.fervt-own { font: 14px/1.4 system-ui, sans-serif; color: CanvasText; background: Canvas; padding: 8px; }
.fervt-own :is(img, video) { display: block; max-width: 100%; max-height: 480px; height: auto; }
.fervt-own video { transform: scaleX(-1); } /* a mirror is what people expect of themselves; the photo is not mirrored */
.fervt-own-row { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; margin: 0 0 10px; }
.fervt-own button, .fervt-own input { font: inherit; min-height: 28px; }
.fervt-own-words { margin: 8px 0 0; max-width: 50em; min-height: 1.4em; }
.fervt-own :focus-visible { outline: 3px solid #e66100; outline-offset: 2px; }
.fervt-own [hidden] { display: none; }
body[data-jp-theme-light="false"] .fervt-own { color-scheme: dark; }
body[data-jp-theme-light="true"] .fervt-own { color-scheme: light; }
`;

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** What a source of pixels shows now, as JPEG. */
async function toJpeg(source, width, height) {
  const scale = Math.min(1, SIDE / Math.max(width, height));
  const canvas = make("canvas", { width: Math.round(scale * width), height: Math.round(scale * height) });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white"; // below what is transparent
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(source, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
}

async function smallEnough(file) {
  if (file.size <= MOST) return file;
  const image = await createImageBitmap(file).catch(() => null);
  if (!image) throw new Error(`${file.name} has ${Math.round(file.size / 1e6)} MB, and your browser cannot make it smaller: save it as JPEG first`);
  return toJpeg(image, image.width, image.height);
}

function render({ model, el }) {
  const words = make("p", { className: "fervt-own-words", role: "status" });
  const image = make("img"), video = make("video", { hidden: true, muted: true, playsInline: true });
  const file = make("input", { type: "file", accept: "image/*" });
  const camera = make("button", { type: "button", textContent: "Use the camera" });
  const shoot = make("button", { type: "button", textContent: "Take the photo", hidden: true });
  const back = make("button", { type: "button" });
  const row = make("div", { className: "fervt-own-row" }, make("label", {}, "Your photo: ", file), camera, shoot, back);
  el.append(make("style", { textContent: STYLE }), make("div", { className: "fervt-own" }, row, video, image, words));
  // A key pressed here is not a command of JupyterLab's, such as "delete this cell".
  for (const control of row.querySelectorAll("input, button")) control.dataset.lmSuppressShortcuts = "true";
  let stream = null, turn = 0; // each wish to use or to stop the camera is a turn; only the last one counts

  const say = (text) => { words.textContent = text; };
  const send = (content, buffers) => {
    try {
      model.send(content, undefined, buffers);
    } catch {
      say("The kernel does not answer. Run this cell again.");
    }
  };
  const give = async (blob) => {
    const buffer = await blob.arrayBuffer();
    say("Looking for faces …");
    send({ give: "photo" }, [buffer]);
  };
  const end = (old) => old?.getTracks().forEach((track) => track.stop());
  const stop = () => {
    turn++;
    end(stream);
    stream = video.srcObject = null;
    camera.textContent = "Use the camera";
    video.hidden = shoot.hidden = true;
    image.hidden = false;
  };
  file.onchange = async () => {
    stop();
    try {
      if (file.files.length) await give(await smallEnough(file.files[0]));
    } catch (error) {
      say(error.message);
    }
    file.value = ""; // so that the same file can be chosen again
  };
  camera.hidden = !navigator.mediaDevices?.getUserMedia; // a page that is not on this machine or on https has no camera
  camera.onclick = async () => {
    const used = stream;
    stop();
    if (used) return;
    const mine = turn;
    try {
      const found = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
      if (turn !== mine) return end(found); // the reader has done something else meanwhile
      stream = video.srcObject = found;
      found.getVideoTracks()[0].onended = stop; // unplugged, or forbidden
      await video.play();
    } catch (error) {
      if (turn !== mine) return;
      stop();
      return say(`There is no camera to use (${error.name}). Choose a file instead.`);
    }
    camera.textContent = "Stop the camera";
    video.hidden = shoot.hidden = false;
    image.hidden = true;
    shoot.focus();
  };
  shoot.onclick = async () => {
    const photo = await toJpeg(video, video.videoWidth, video.videoHeight);
    stop();
    await give(photo);
  };
  back.onclick = () => {
    stop();
    send({ give: "start" });
  };

  const show = () => {
    const old = image.src, data = model.get("picture");
    image.src = URL.createObjectURL(new Blob([data]));
    image.alt = `${model.get("mine") ? "Your photo" : model.get("name")}: ${model.get("words")}`;
    if (old) URL.revokeObjectURL(old);
  };
  const tell = () => {
    say(model.get("words"));
    back.textContent = `Back to ${model.get("name")}`;
    back.disabled = !model.get("mine");
  };
  model.on("change:picture", show);
  model.on("msg:custom", tell);
  show();
  tell();
  return stop; // when the cell's output goes, the camera does too
}

export default { render };
