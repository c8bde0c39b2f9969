// What the user is asked about an upload before anything is done.

import { choose, isSure } from "/dialog.js";
import { bytes } from "/words.js";

/** `verb` is that of the button. */
export function mayLoseBytes(verb, { name, bytesOnServer, state }) {
  const mayBeElsewhere = state === "unfinished";
  const others = mayBeElsewhere ? "If another tab or device is still sending it, that ends too. " : "";
  return isSure({
    title: [`${verb} “`, name, "”?"],
    words: [`${others}The server deletes the ${bytes(bytesOnServer)} that it has.`],
    yes: verb === "Start over" ? verb : `${verb} it`,
    no: "Keep it",
  });
}

/** `yes` to go on with it, `other` to send it as a new upload, or `no`. */
export function isTheSame(name) {
  return choose({
    title: ["Is this the same “", name, "”?"],
    words: [
      "It has the same name and size, but another date. If it is not the same, the server notices " +
        "at the end.",
    ],
    yes: "Go on with it",
    other: "Send as a new upload",
    no: "Cancel",
    isGrave: false,
  });
}

/** Whether a file that is not that of the upload is to be sent. */
export function isMeant(upload, file) {
  return isSure({
    title: ["This is not “", upload.name, "”"],
    words: [
      "You chose “",
      file.name,
      `”, which differs in ${differences(upload, file)}. It can be sent as a new upload; the ` +
        "unfinished one stays.",
    ],
    yes: "Send as a new upload",
    no: "Do not send it",
    isGrave: false,
  });
}

function differences(upload, file) {
  const found = [];
  if (upload.name !== file.name) found.push("its name");
  if (upload.size !== file.size) {
    found.push(`its size (${bytes(file.size)} instead of ${bytes(upload.size)})`);
  }
  if (upload.lastModified !== null && upload.lastModified !== file.lastModified) {
    found.push("its date");
  }
  const last = found.pop();
  return found.length > 0 ? `${found.join(", ")} and ${last}` : last;
}
