package admin

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"

	"github.com/labstack/echo/v4"
)

// The status page: one HTML file, one style sheet, some scripts, nothing from
// elsewhere, and all by relative addresses, so that a proxy may have it below a path.
// It holds no data of its own, so it needs no token; it asks for it
// when the API does.
//
//go:embed page
var pageFiles embed.FS

// pagePolicy lets the page load its own files and ask its own API, and nothing
// else. No inline script could run, should a text of an event ever become markup.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// pageRoutes serves each file of the page; index.html is also the root.
func pageRoutes(e *echo.Echo) error {
	files, err := pageFiles.ReadDir("page")
	if err != nil {
		return err
	}
	for _, file := range files {
		content, err := pageFiles.ReadFile("page/" + file.Name())
		if err != nil {
			return err
		}
		route := "/page/" + file.Name()
		if file.Name() == "index.html" {
			route = "/"
		}
		e.Match(reads, route, servePage(content, pageTypes[path.Ext(file.Name())]))
	}
	reasons, err := reasonsFile()
	if err != nil {
		return err
	}
	e.Match(reads, "/page/reasons.js", servePage(reasons, pageTypes[".js"]))
	return nil
}

func servePage(content []byte, contentType string) echo.HandlerFunc {
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		// Asked for again each time: after an upgrade the page is the new bridge's.
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", tag)
		if c.Request().Header.Get("If-None-Match") == tag {
			return c.NoContent(http.StatusNotModified)
		}
		return c.Blob(http.StatusOK, contentType, content)
	}
}
