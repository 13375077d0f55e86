// Icons, drawn by hand on a grid of 20.
import { html } from "./lib.js";

const PATHS = {
  send: "M10 16V4m0 0L5 9m5-5 5 5",
  stop: "M6 6h8v8H6z",
  close: "M5 5l10 10M15 5L5 15",
  copy: "M7 7h8v9H7zM5 13V4h8",
  again: "M15.5 10a5.5 5.5 0 1 1-1.7-4M14 2.5V6h-3.5",
  up: "M7 9l3-6c1.4 0 2 .9 2 2v3h4l-1 8H7m0-7v7H4V9z",
  down: "M13 11l-3 6c-1.4 0-2-.9-2-2v-3H4l1-8h8m0 7V4h3v7z",
  sliders: "M4 6h6m4 0h2M4 14h2m4 0h6M12 4v4M8 12v4",
  chats: "M4 4h12v9H9l-4 3v-3H4z",
  plus: "M10 4v12M4 10h12",
  trash: "M4 6h12M8 6V4h4v2m-6 0l1 10h6l1-10",
  pencil: "M4 16l1-4 8-8 3 3-8 8z",
  left: "M12 4l-6 6 6 6",
  right: "M8 4l6 6-6 6",
  upload: "M10 13V4m0 0L6 8m4-4 4 4M4 14v2h12v-2",
  file: "M6 3h6l3 3v11H6zM12 3v3h3",
  sun: "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM10 2v2m0 12v2M2 10h2m12 0h2M4.3 4.3l1.5 1.5m8.4 8.4l1.5 1.5M4.3 15.7l1.5-1.5m8.4-8.4l1.5-1.5",
  moon: "M15.5 12.5A6.5 6.5 0 0 1 7.5 4.5a6.5 6.5 0 1 0 8 8z",
  half: "M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zm0 0v14",
  warn: "M10 3l8 14H2zM10 8v4m0 2.2v.3",
  check: "M4 10.5l4 4 8-9",
  leave: "M8 4H4v12h4m4-9l3 3-3 3m3-3H8",
  info: "M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zm0 6.5V14m0-7.5v.3",
  link: "M8.5 11.5l3-3M7 9l-2 2a2.8 2.8 0 0 0 4 4l2-2m2-2l2-2a2.8 2.8 0 0 0-4-4L9 7",
};

/** @param {{name: keyof typeof PATHS}} props */
export const Icon = ({ name }) => html`<svg class="icon" viewBox="0 0 20 20" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
