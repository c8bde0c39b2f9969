// What can go wrong with an upload, in plain words.

import { Refusal } from "/requests.js";
import { bytes, inUnits } from "/words.js";

/** Another page sends this upload now. */
export class Elsewhere extends Error {}

/** The file no longer exists, or has changed. */
export class Unreadable extends Error {}

/** The server refused to drop the upload. */
export class Uncancelled extends Error {}

/** What it is if nothing else is said. */
const USUAL = { remedy: null, gone: false, isUncancelled: false, elsewhere: false, isStale: false };

/** The error in plain words, what the main button offers, and what an upload has to know of it. */
export function explain(error) {
  return { ...USUAL, ...wordsFor(error) };
}

function wordsFor(error) {
  const startOver = { label: "Start over", act: (upload) => upload.startOver() };
  const startOverIfMeant = { label: "Start over", act: (upload) => upload.startOverIfMeant() };
  const tryAgain = { label: "Try again", act: (upload) => upload.queue() };
  const readAgain = { label: "Try again", act: (upload) => upload.readAgain() };
  const { message } = error;

  if (error instanceof Unreadable) {
    return {
      words:
        "The file could not be read. Try again goes on if it is unchanged, and else starts over.",
      remedy: readAgain,
      isStale: true,
    };
  }
  if (error instanceof Uncancelled) {
    return {
      words: "The server did not cancel it. It removes the unfinished part by itself when it expires.",
      remedy: { label: "Try again", act: (upload) => upload.cancel() },
      isUncancelled: true,
    };
  }
  if (error.isAbandoned) {
    return { words: "The server could not save the file. Try again later.", remedy: tryAgain };
  }
  if (error instanceof Elsewhere || error.status === 409) {
    return {
      words: "Another tab or window sends it now.",
      elsewhere: true,
    };
  }
  if (!(error instanceof Refusal)) {
    return { words: `Something unexpected happened: ${message}.`, remedy: tryAgain };
  }
  switch (error.code) {
    case "too-large":
      return { words: tooLarge(message) };
    case "checksum-mismatch":
      return {
        words: "The file changed while it was sent, so the server did not take it. Start over.",
        remedy: startOver,
      };
  }
  switch (error.status) {
    case 401:
    case 403:
      return {
        words: "You are not allowed to send this file. Sign in, then try again.",
        remedy: tryAgain,
      };
    case 404:
      return {
        words: "The server does not know this upload any more. Start over to send the file again.",
        remedy: startOver,
        gone: true,
      };
    case 410:
      return {
        words: "This upload took too long and has expired. Start over to send the file again.",
        remedy: startOver,
        gone: true,
      };
    case 413:
      return { words: "The file is too large for this server. Choose a smaller one." };
  }
  const words = `The server refused the file: ${inUnits(message)}.`;
  return { words, remedy: startOverIfMeant };
}

function tooLarge(message) {
  const [, limit] = /\((\d+) bytes\)/.exec(message) ?? [];
  if (!limit) return `The file is too large for this server: ${inUnits(message)}.`;
  return `The file is too large: this server takes up to ${bytes(Number(limit))}.`;
}
