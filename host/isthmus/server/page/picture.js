// The picture that a device's last frame reveals, where the server reconstructs it.

import { byId, setHidden, setText } from "./dom.js";

export class PictureView {
  /** `ask(path, query)` fetches, with the reader's token. */
  constructor(ask) {
    this.ask = ask;
    this.clear();
  }

  clear() {
    this.name = "";
    this.time = null;
    setHidden(byId("picture-box"), true);
  }

  /** Asks for the picture of `device` where there is one, unless its frame is the one shown. */
  async show(device) {
    if (!device.picture || !device.answer) {
      this.clear();
      return;
    }
    if (device.name === this.name && device.time === this.time) return;
    this.name = device.name;
    const response = await this.ask("api/picture", { name: device.name });
    if (!response.ok) {
      this.clear();
      return;
    }
    const bitmap = await createImageBitmap(await response.blob());
    if (this.name !== device.name) return; // another device was chosen meanwhile
    const canvas = byId("picture");
    Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    canvas.setAttribute("aria-label", `Picture of ${canvas.width} by ${canvas.height}, reconstructed from the features of this device's last frame`);
    setText(byId("picture-size"), `${canvas.width}×${canvas.height}`);
    setHidden(byId("picture-box"), false);
    this.time = Number(response.headers.get("x-isthmus-time"));
  }
}
