// The server that benchmarks put behind agent, nginx and the direct connection: Go's net/http with TLS and its defaults, as every
// Kubernetes API server has. It answers what an agent needs to run, and the same sources and sinks of bytes as tests/src/service.rs:
//
//	GET /small     1 KiB
//	GET /bulk?N    N bytes, each its offset modulo 251
//	GET /watch?N   N numbered lines, one each 2 ms
//	POST /count    reads the body, checks it against the same bytes, answers its length
//
// Arguments: address to listen on, PEM files of certificate and key.
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	block  = 64 << 10
	period = 251
)

// Every block of the bytes begins at one of period phases of this one.
var pattern = func() []byte {
	all := make([]byte, block+period)
	for i := range all {
		all[i] = byte(i % period)
	}
	return all
}()

func bulk(w http.ResponseWriter, n int64) {
	for at := int64(0); at < n; {
		phase, size := at%period, min(block, n-at)
		if _, err := w.Write(pattern[phase : phase+size]); err != nil {
			return
		}
		at += size
	}
}

func count(w http.ResponseWriter, body io.Reader) {
	buffer, at := make([]byte, block), int64(0)
	for {
		n, err := body.Read(buffer)
		phase := at % period
		if !bytes.Equal(buffer[:n], pattern[phase:phase+int64(n)]) {
			http.Error(w, "not the expected bytes", http.StatusBadRequest)
			return
		}
		at += int64(n)
		if err == io.EOF {
			fmt.Fprint(w, at)
			return
		}
		if err != nil {
			return
		}
	}
}

func watch(w http.ResponseWriter, n int64) {
	for i := range n {
		time.Sleep(2 * time.Millisecond)
		if _, err := fmt.Fprintln(w, i); err != nil {
			return
		}
		w.(http.Flusher).Flush()
	}
}

// kubernetes is the little that an agent asks of an API server: its version, the cluster's UID and one Secret.
type kubernetes struct {
	sync.Mutex
	secret []byte
}

func (k *kubernetes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.Lock()
	defer k.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch path := r.URL.Path; {
	case path == "/version":
		io.WriteString(w, `{"major":"1","minor":"34","gitVersion":"v1.34.4","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}`)
	case path == "/api/v1/namespaces/kube-system":
		io.WriteString(w, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-system","uid":"00000000-0000-4000-8000-000000000001"}}`)
	case strings.HasPrefix(path, "/api/v1/namespaces/kantaloupe-system/secrets") && r.Method != http.MethodGet:
		k.secret, _ = io.ReadAll(r.Body)
		w.Write(k.secret)
	case strings.HasPrefix(path, "/api/v1/namespaces/kantaloupe-system/secrets") && k.secret != nil:
		w.Write(k.secret)
	default:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"apiVersion":"v1","kind":"Status","status":"Failure","code":404,"message":"no","reason":"NotFound","metadata":{}}`)
	}
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: apiserver ADDRESS CERT KEY")
	}
	numbered := func(f func(http.ResponseWriter, int64)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			n, _ := strconv.ParseInt(r.URL.RawQuery, 10, 64)
			f(w, n)
		}
	}
	small := bytes.Repeat([]byte{7}, 1024)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /small", func(w http.ResponseWriter, _ *http.Request) { w.Write(small) })
	mux.HandleFunc("GET /bulk", numbered(bulk))
	mux.HandleFunc("GET /watch", numbered(watch))
	mux.HandleFunc("POST /count", func(w http.ResponseWriter, r *http.Request) { count(w, r.Body) })
	mux.Handle("/", &kubernetes{})

	// Connections that are reset are part of the benchmarks.
	server := &http.Server{Addr: os.Args[1], Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	log.Fatal(server.ListenAndServeTLS(os.Args[2], os.Args[3]))
}
