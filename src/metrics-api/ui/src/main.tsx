import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app.tsx";
import "./styles/theme.css";
import "./styles/page.css";
import "./styles/panels.css";

const root = document.getElementById("page");
if (root === null) throw new Error("the page has no element to stand in");
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
