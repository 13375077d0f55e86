// Files with their paths: of folders that are dropped, or chosen as a whole.

/** @typedef {{file: File, source: string | null}} Found  source: the path within what was dropped; null: it has none */

// what systems leave in folders
const LITTER = new Set(["thumbs.db", "desktop.ini"]);
const isLitter = (/** @type {string} */ name) => name.startsWith(".") || LITTER.has(name.toLowerCase());

/** A path as the server takes it for a source: without signs that are not seen. @param {string} path */
export const sourceOf = (path) => path.normalize("NFC").replace(/[\p{Zs}]/gu, " ").replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "");

/**
 * Find the files of a drop. It must be called while the event is handled: its list is empty afterwards.
 * @param {DataTransfer} transfer @returns {Promise<Found[]>}
 */
export function dropped(transfer) {
  const files = [...transfer.items].filter((item) => item.kind === "file");
  const entries = files.map((item) => item.webkitGetAsEntry?.() ?? null);
  const plain = files.map((item) => item.getAsFile());
  return collected(entries, plain);
}

/** @param {FileSystemEntry} entry @returns {entry is FileSystemDirectoryEntry} */
const isFolder = (entry) => entry.isDirectory;
/** @param {FileSystemEntry} entry @returns {entry is FileSystemFileEntry} */
const isFile = (entry) => entry.isFile;

/** @param {(FileSystemEntry | null)[]} entries @param {(File | null)[]} plain the same as files, for those that are no folders */
async function collected(entries, plain) {
  const found = [];
  for (const [at, entry] of entries.entries()) {
    const file = plain[at];
    if (entry && isFolder(entry)) found.push(...(await within(entry)));
    else if (file) found.push({ file, source: null });
  }
  return found;
}

/** Walk through a folder. @param {FileSystemDirectoryEntry} folder @returns {Promise<Found[]>} */
async function within(folder) {
  const found = [];
  for (const entry of await listed(folder.createReader())) {
    if (isLitter(entry.name)) continue;
    if (isFolder(entry)) found.push(...(await within(entry)));
    else if (isFile(entry)) {
      /** @type {File | null} */
      const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null))); // null: gone meanwhile
      if (file) found.push({ file, source: sourceOf(entry.fullPath.replace(/^\//, "")) });
    }
  }
  return found;
}

/** A reader gives a hundred entries or so at a time, and none at the end. @param {FileSystemDirectoryReader} reader */
async function listed(reader) {
  /** @type {FileSystemEntry[]} */
  const found = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (some.length === 0) return found.sort((one, other) => (one.name < other.name ? -1 : 1));
    found.push(...some);
  }
}

/** The files of a folder that was chosen. @param {Iterable<File>} files @returns {Found[]} */
export function chosen(files) {
  return [...files]
    .filter((file) => !file.webkitRelativePath.split("/").some(isLitter))
    .map((file) => ({ file, source: file.webkitRelativePath ? sourceOf(file.webkitRelativePath) : null }));
}

/** Tell whether files are dragged, not a text. @param {DragEvent} event */
export const isOfFiles = (event) => Boolean(event.dataTransfer?.types.includes("Files"));
