// Every page loads this. Each module listens on the document, so that swapped content works without being wired again.
import "./copy.js";
import "./diagram.js";
import "./dialog.js";
import "./keys.js";
import "./list.js";
import "./live.js";
import "./time.js";
import "./toast.js";
