package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/surecall/surecall/status"
)

const (
	pageTimeout = 5 * time.Second // of watch
	pageLimit   = 64 << 20        // bytes: some 100,000 instances
)

// pageFeed reads what the clients of a running process hold, from its status page.
type pageFeed struct {
	client *http.Client
	url    string // of the JSON
	how    string
}

func openPage(page string, o *viewing) (feed, error) {
	u, err := url.Parse(page)
	if err != nil {
		return nil, fmt.Errorf("the address of the status page cannot be parsed: %w", err.(*url.Error).Err)
	}
	if u.Host == "" {
		return nil, fmt.Errorf("the address of the status page names no host: want http://host:port/path")
	}
	how := "read from " + (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	query := u.Query()
	query.Set("format", "json")
	u.RawQuery = query.Encode()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if transport.TLSClientConfig, err = o.tlsConfig(); err != nil {
		return nil, err
	}
	return &pageFeed{client: &http.Client{Transport: transport, Timeout: cmp.Or(o.timeout, pageTimeout)}, url: u.String(), how: how}, nil
}

func (f *pageFeed) read(ctx context.Context) (view, error) {
	all, err := f.get(ctx)
	if err != nil {
		return view{}, fmt.Errorf("status page: %w", err)
	}
	return view{all: all, how: f.how, settled: true}, nil
}

func (f *pageFeed) get(ctx context.Context) ([]status.Status, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := f.client.Do(request)
	if failed := (*url.Error)(nil); errors.As(err, &failed) {
		return nil, failed.Err // the address may hold a secret, and whoever gave it knows it
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		return nil, fmt.Errorf("answers %s: %s", response.Status, text)
	}
	limited := &io.LimitedReader{R: response.Body, N: pageLimit}
	var document struct {
		Clients *[]status.Status `json:"clients"`
	}
	err = json.NewDecoder(limited).Decode(&document)
	switch {
	case limited.N <= 0:
		return nil, fmt.Errorf("answers with more than %d MB", pageLimit>>20)
	case isOther(err):
		return nil, errors.New("is not one of surecall's: want its own address, as the process serves it")
	case err != nil:
		return nil, err
	case document.Clients == nil:
		return nil, errors.New(`is not one of surecall's: its JSON has no "clients"`)
	}
	return *document.Clients, nil
}

// isOther reports whether err is of a text that is not the JSON that was expected, and not
// of a connection.
func isOther(err error) bool {
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	ends := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	return ends || errors.As(err, &syntax) || errors.As(err, &mismatch)
}

func (f *pageFeed) changed() <-chan struct{} { return nil }

func (f *pageFeed) close() { f.client.CloseIdleConnections() }
