// The protected handlers as a user of Go's ServeMux writes them: servemux PORT.
package main

import (
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
)

func handler(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-handler", name)
		model := strings.TrimSuffix(r.PathValue("model"), ":generate")
		w.Header().Set("x-value", url.PathEscape(model))
	}
}

// A pattern has no text beside a variable, so handlers look for it themselves.
func models(w http.ResponseWriter, r *http.Request) {
	model := r.PathValue("model")
	switch {
	case r.Method == http.MethodPost && strings.HasSuffix(model, ":generate"):
		handler("generate")(w, r)
	case r.Method == http.MethodPost:
		http.NotFound(w, r)
	case r.Method == http.MethodDelete:
		handler("delete")(w, r)
	case strings.HasSuffix(model, ":public"):
		handler("public_model")(w, r)
	default:
		handler("model")(w, r)
	}
}

func reports(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.PathValue("month"), "-") {
		handler("reports")(w, r)
		return
	}
	http.NotFound(w, r)
}

func main() {
	http.HandleFunc("GET /public/{name}", handler("public"))
	http.HandleFunc("GET /v1/models/{model}", models)
	http.HandleFunc("POST /v1/models/{model}", models)
	http.HandleFunc("DELETE /v1/models/{model}", models)
	http.HandleFunc("/admin", handler("admin"))
	http.HandleFunc("/admin/", handler("admin"))
	http.HandleFunc("GET /files", handler("files"))
	http.HandleFunc("GET /files/", handler("files"))
	http.HandleFunc("GET /reports/{month}", reports)
	http.HandleFunc("api.example.com/tenant/{name}", handler("tenant"))
	http.HandleFunc("GET /café/{id}", handler("cafe"))
	http.HandleFunc("GET /plain%20text", handler("plain"))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
