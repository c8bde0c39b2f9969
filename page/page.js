// Sends files in chunks and resumes them after a pause, a lost connection, a restart of the server
// or a reload of the page. Here is how files come to the page.

import { add, addWanted, losesFiles, othersDid, refresh, start, tryNow } from "/list.js";
import { files, filesOf, watchOthers } from "/memory.js";
import { notice } from "/speech.js";

const REFRESH_SECONDS = 5;
const picker = document.querySelector("#files");
/** For one file again. */
const again = document.querySelector("#again");

/* Choosing */

picker.addEventListener("change", () => {
  add([...picker.files]);
  // This allows the same file to be chosen again.
  picker.value = "";
});

again.addEventListener("change", () => {
  addWanted(again.files[0]);
  again.value = "";
});

again.addEventListener("cancel", () => addWanted(null));

// A browser that gives handles can read the files again after a reload.
if (window.showOpenFilePicker) {
  picker.addEventListener("click", async (event) => {
    event.preventDefault();
    add(await pickHandles(true));
  });
  again.addEventListener("click", async (event) => {
    event.preventDefault();
    addWanted((await pickHandles(false))[0]);
  });
}

async function pickHandles(multiple) {
  try {
    return await filesOf(await window.showOpenFilePicker({ multiple }));
  } catch (error) {
    if (error.name !== "AbortError") notice(`The file cannot be read: ${error.message}`);
    return [];
  }
}

/* Dropping */

function carriesFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}

document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});

document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});

document.addEventListener("drop", async (event) => {
  document.body.classList.remove("dragging");
  if (!carriesFiles(event)) return;
  event.preventDefault();
  // A folder is also among the files, and cannot be told apart there.
  const items = [...event.dataTransfer.items].filter(({ kind }) => kind === "file");
  const isFolder = (item) => item.webkitGetAsEntry?.()?.isDirectory;
  const dropped = items.filter((item) => !isFolder(item));
  add(await Promise.all(dropped.map(fileOf)));
  if (dropped.length < items.length) notice("Folders cannot be sent. Drop the files in them.");
});

/** The items are only there during the event, so all of them are asked at once. */
function fileOf(item) {
  const file = item.getAsFile();
  const asked = item.getAsFileSystemHandle?.() ?? Promise.resolve(null);
  return asked.then(async (handle) => (handle ? (await filesOf([handle]))[0] : file)).catch(() => file);
}

/* What happens elsewhere */

window.addEventListener("online", tryNow);
document.addEventListener("visibilitychange", refresh);
watchOthers(othersDid);

window.addEventListener("beforeunload", (event) => {
  if (losesFiles()) event.preventDefault();
});

files.dropExpired();
start(() => again.click());
setInterval(refresh, REFRESH_SECONDS * 1000);
