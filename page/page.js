// Sends files in chunks and resumes them after a pause, a lost connection, a restart of the server
// or a reload of the page. Here is how files come to the page.

import { add, addWanted, losesFiles, othersDid, refresh, start, tick, tryNow } from "/list.js";
import { fileOf, files, watchOthers } from "/memory.js";
import { largestFile } from "/requests.js";
import { notice } from "/speech.js";
import { bytes } from "/words.js";

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
let givesHandles = "showOpenFilePicker" in window;

/** Gives the files that the user picks to `take`. */
function picksHandles(input, take) {
  input.addEventListener("click", async (event) => {
    if (!givesHandles) return;
    event.preventDefault();
    const { multiple } = input;
    let handles = [];
    try {
      handles = await window.showOpenFilePicker({ multiple });
    } catch (error) {
      if (error.name !== "AbortError") {
        givesHandles = false;
        return input.showPicker();
      }
    }
    const asked = await Promise.allSettled(handles.map(fileOf));
    take(asked.filter(({ value }) => value).map(({ value }) => value));
    const [unread, ...more] = handles.filter((_, n) => asked[n].reason);
    if (!unread) return;
    notice("“", unread.name, `”${more.length > 0 ? ` and ${more.length} more` : ""} cannot be read.`);
  });
}

picksHandles(picker, add);
picksHandles(again, ([file]) => addWanted(file));

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
  const entries = items.map((item) => item.webkitGetAsEntry?.());
  const dropped = items.filter((_, n) => !entries[n]?.isDirectory);
  const [folder, ...more] = entries.filter((entry) => entry?.isDirectory);
  add(await Promise.all(dropped.map(droppedFile)));
  if (!folder) return;
  const rest = more.length > 0 ? ` and ${more.length} more are folders. Open them` : " is a folder. Open it";
  notice("“", folder.name, `”${rest} and drop the files inside.`);
});

/** The items are only there during the event, so all of them are asked at once. */
function droppedFile(item) {
  const file = item.getAsFile();
  const asked = item.getAsFileSystemHandle?.() ?? Promise.resolve(null);
  return asked.then((handle) => (handle ? fileOf(handle) : file)).catch(() => file);
}

/* What happens elsewhere */

window.addEventListener("online", () => {
  tryNow();
  refresh();
});
document.addEventListener("visibilitychange", refresh);
watchOthers(othersDid);

window.addEventListener("beforeunload", (event) => {
  if (losesFiles()) event.preventDefault();
});

files.dropExpired();
start(() => again.click());
setInterval(refresh, REFRESH_SECONDS * 1000);
setInterval(tick, 1000);

const limit = await largestFile();
if (limit > 0) document.querySelector("#limit").textContent = `Files up to ${bytes(limit)}.`;
